"""Publishing with a transaction: messages are written with the rows that they tell of, and sent after it."""
