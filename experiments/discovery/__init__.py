"""The best combination on Amazon Baby, found on valid."""
