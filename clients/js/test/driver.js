// Runs the table of cases that all clients share: reads `{url, key, cases}` as JSON, writes the outcomes.
import { randomBytes } from "node:crypto";
import { text } from "node:stream/consumers";
import { connect, ConnectionClosed, RequestError, Unanswered } from "switchboard-client";

const own = ({ key, direction, ...rest }) =>
  Object.fromEntries(Object.entries(rest).map(([k, v]) => [k, k === "got" || k === "error" ? own(v) : v]));

function registerHandlers(connection) {
  connection.on("request", "double", async (context) => {
    await context.partial({ n: 1 });
    await context.reply({ twice: 2 * context.message.x });
  });
  connection.on("request", "refuse", (context) => context.error({ code: "mine" }));
  connection.on("request", "break", () => {
    throw new Error("broken on purpose");
  });
}

async function request(connection, { message, also, timeout, binary }) {
  try {
    const first = also && connection.request(also);
    const asked = connection.request(message, { timeout: timeout && timeout * 1000, binary });
    const partials = [];
    for await (const partial of asked) partials.push(own(partial.message));
    return { partials, reply: own((await (first ?? asked)).message) };
  } catch (error) {
    if (error instanceof RequestError) return { error: own(error.message) };
    if (error instanceof ConnectionClosed) return { closed: [error.code, error.reason] };
    if (error instanceof Unanswered) return { timeout: true };
    if (error instanceof TypeError) return { refused: true };
    throw error;
  }
}

async function send(connection, { message }) {
  try {
    await connection.send(message, { timeout: 20_000 });
    return "sent";
  } catch (error) {
    if (error instanceof TypeError) return "refused";
    throw error;
  }
}

async function close(connection, { code, reason }) {
  try {
    await connection.close(code, reason);
  } catch (error) {
    if (error instanceof RangeError) return "refused";
    throw error;
  }
  const after = await connection.send({}).catch((error) => error);
  return after instanceof ConnectionClosed ? "closed" : "still open";
}

async function receive(connection, { message }) {
  const address = `channel:${randomBytes(4).toString("hex")}`;
  const received = new Promise((resolve) => connection.on("delivery", resolve));
  await connection.subscribe(address);
  await connection.publish([address], message);
  const delivery = await received;
  return delivery.address === address ? { message: delivery.message } : { wrong: delivery };
}

const operations = { request, send, close, receive };
const { url, key, cases } = JSON.parse(await text(process.stdin));
const outcomes = [];
for (const { operation, given } of cases) {
  const connection = await connect(url, { key, reconnect: false });
  registerHandlers(connection);
  outcomes.push(await operations[operation](connection, given));
  await connection.close();
}
console.log(JSON.stringify(outcomes));
