// A client that is told what to do: reads one command a line as JSON, writes what becomes of it and what it is told.
import { createInterface } from "node:readline";
import { connect, ConnectionClosed, RequestError, Unanswered } from "switchboard-client";

if (process.env.AT_ONCE) Math.random = () => 0; // attempts do not wait
const write = (value) => console.log(JSON.stringify(value));
const tell = (...told) => write({ told });
const own = ({ key, direction, ...rest }) => rest;
let connection;

const commands = {
  async connect({ url, ...options }) {
    connection = await connect(url, options);
    connection.on("delivery", (one) => tell("delivery", one.address, one.message, one.offset ?? null));
    connection.on("recovered", ({ address, position }) => tell("recovered", address, position));
    connection.on("gap", (gap) => (gap === connection ? tell("gap") : tell("gap", gap.address)));
    connection.on("presence", (notice) => tell("presence", notice));
    connection.on("reconnect", () => tell("reconnect"));
    connection.on("close", (code) => tell("close", code));
    connection.on("error", (error) => tell("error", error.code));
  },
  subscribe: ({ addresses, options }) => connection.subscribe(...addresses, options),
  unsubscribe: ({ addresses }) => connection.unsubscribe(...addresses),
  publish: ({ addresses, message, options: { timeout, ...options } }) =>
    connection.publish(addresses, message, { ...options, timeout: timeout && timeout * 1000 }),
  publish_batch: ({ messages }) => connection.publishBatch(messages),
  history: ({ address, options }) => connection.history(address, options),
  request: ({ message }) => connection.request(message),
  close: () => connection.close(),
};

async function run({ n, command, ...given }) {
  try {
    const value = await commands[command](given);
    write({ n, value: value?.message ? own(value.message) : null });
  } catch (error) {
    if (error instanceof RequestError) write({ n, value: { error: error.code } });
    else if (error instanceof ConnectionClosed) write({ n, value: { closed: error.code } });
    else if (error instanceof Unanswered) write({ n, value: { timeout: true } });
    else throw error;
  }
}

for await (const line of createInterface({ input: process.stdin })) run(JSON.parse(line));
process.exit();
