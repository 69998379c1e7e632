"""Studies: a question, the command that answers it, and the results the command wrote."""
