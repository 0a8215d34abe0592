"""Simultaneous session control (DRISC): how many streams one customer may play at once."""
