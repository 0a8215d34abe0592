"""The audit log: who did what. A row for each act of an operator, whichever way it came."""
