"""How fast the program is: beside the MMRec toolbox, and against the machine's limits."""
