// pusher-js as it is: subscribes to channels, and prints every event as a line of JSON.
// Usage: node pusher.mjs <port> <channel>...
import Pusher from "pusher-js";

const [port, ...channels] = process.argv.slice(2);
const say = (...words) => console.log(JSON.stringify(words));
const pusher = new Pusher("switchboard", {
  cluster: "",
  wsHost: "127.0.0.1",
  wsPort: Number(port),
  forceTLS: false,
  enabledTransports: ["ws"],
  disableStats: true,
});
pusher.connection.bind("state_change", ({ current }) => say("state", current));
for (const name of channels) {
  const channel = pusher.subscribe(name);
  channel.bind_global((event, data) => say(name, event, data ?? null));
}
process.stdin.on("data", (line) => {
  const [verb, name] = line.toString().trim().split(" ");
  if (verb === "leave") pusher.unsubscribe(name);
});
process.stdin.on("end", () => process.exit(0));
