"""python-socketio, as its documentation writes an acknowledged event."""
