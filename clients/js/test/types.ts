// Code that a user of the types may write; `npm run types` checks it, and that each expected error is one.
import { connect, Connection, RequestError, type Delivery, type Position } from "switchboard-client";

const connection: Connection = await connect("ws://localhost:8000/connection", { key: "sb_..." });
await connect("ws://localhost:8000/connection", { token: "a.b.c" });
await connect("ws://localhost:8000/connection", { token: async () => "a.b.c" });
const reply = await connection.request({ type: "echo", n: 1 }, { timeout: 1000 });
const n: number = reply.message.n;
for await (const partial of connection.request({ type: "count", n })) console.log(partial.message);
connection.request({}, (error, reply, partial) => console.log(error, reply?.message, partial?.message));
connection.send({ text: "x" }, (error) => console.log(error));
connection.on("request", "double", async (context) => context.reply({ x: 2 }));
connection.on("delivery", (delivery: Delivery) => console.log(delivery.address));
connection.on("close", (code, reason) => console.log(code.toFixed(), reason.length));
connect("ws://localhost", (error, connection) => console.log(error, connection?.id));
await connection.subscribe("token:a", "token:b", { recover: true, last: 10, notices: true });
const position: Position = { epoch: "e", offset: 1 };
console.log((await connection.history("token:a", { since: position, limit: 10 })).message.messages);
await connection.publish(["token:a"], "x", { id: "one", timeout: 1000 });
console.log((await connection.publishBatch([{ addresses: ["token:a"], message: 1 }])).message.results);
connection.on("recovered", ({ address, position }) => console.log(address.length, position.offset.toFixed()));
connection.on("gap", (gap) => console.log(gap instanceof Connection ? gap.id : gap.address));
connection.on("presence", ({ joined, left }) => console.log(joined[0]?.identity, left.length));
if (reply instanceof RequestError) console.log(reply.code);

// @ts-expect-error a message has no answer
connection.on("message", (context) => context.reply({}));
// @ts-expect-error a message is an object
connection.send("text");
// @ts-expect-error a token is a string
connect("ws://localhost", { token: 1 });
// @ts-expect-error no such event
connection.on("nonsense", () => {});
// @ts-expect-error options come last
connection.subscribe({ recover: true }, "token:a");
