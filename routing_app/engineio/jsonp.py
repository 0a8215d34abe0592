"""JSONP polling: a poll is a script that calls `___eio[j](payload)`, a post a form with the payload in `d`.

For browsers that may not ask another site in any other way. Facts: socketio/engine.io,
`lib/transports/polling-jsonp.js`, the same from 1.0 to 6.
"""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import parse_qs

from routing_app.engineio.wire import BINARY_TYPE, EngineWireError, Payload

SCRIPT_TYPE: Final = b"text/javascript; charset=UTF-8"
FORM_ANSWER_TYPE: Final = b"text/html"
"""Of the answer to a form: some browsers offer any other for download."""
_LINE_BREAK: Final = re.compile(r"(\\)?\\n")
_FIELDS: Final = 8


def callback_of(j: str) -> str:
    """The callback that the `j` of a query names: its digits; "" without any."""
    return re.sub("[^0-9]", "", j)


def as_script(callback: str, payload: Payload) -> Payload:
    """A payload as a script. Raises EngineWireError for one in the binary form."""
    if payload.content_type == BINARY_TYPE:
        raise EngineWireError("a script cannot hold binary data")
    # In ASCII: of the characters that JSON takes and JavaScript did not, U+2028 and U+2029, none is left.
    return Payload(f"___eio[{callback}]({json.dumps(payload.body.decode())});".encode(), SCRIPT_TYPE)


def payload_of(form: bytes) -> bytes:
    """The payload in a form. Raises EngineWireError.

    Forms turn a line break into CR LF, so clients write `\\n` for one, and `\\\\n` for what was `\\n` before.
    """
    try:
        fields = parse_qs(form.decode(), True, errors="strict", max_num_fields=_FIELDS)
        [text] = fields["d"]
    except (ValueError, KeyError):
        raise EngineWireError("a form without one payload") from None
    text = _LINE_BREAK.sub(lambda match: match[0] if match[1] else "\n", text)
    return text.replace("\\\\n", "\\n").encode()
