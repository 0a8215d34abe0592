// Client of Switchboard's requests protocol: the Connection object of `wyre` for browsers and Node.

export { Connection, connect } from "./connection.js";
export { Answered, Context, RequestContext } from "./context.js";
export { ConnectionClosed, Request, RequestError, Unanswered } from "./pending.js";
