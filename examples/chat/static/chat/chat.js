// The chat of the original's documentation: one socket, the channel from ?channel=, an account by change_user.
const channel = new URLSearchParams(location.search).get("channel") || "lobby";
const scheme = location.protocol === "https:" ? "wss" : "ws";
const client = new WebSocket(`${scheme}://${location.host}/websocket?channel_id=${encodeURIComponent(channel)}`);
const show = (id, text) => { document.getElementById(id).textContent = text; };

function log(text) {
  const line = document.createElement("li");
  line.textContent = text;
  document.getElementById("log").append(line);
}

client.onmessage = (event) => {
  const msg = JSON.parse(event.data);
  if (msg.error) log(`refused: ${JSON.stringify(msg.error)}`);
  else if (msg.type === "connection") {
    show("who", `${msg.data.root_id} (client ${msg.data.client_id})`);
    show("channel", msg.data.channel_id);
  } else if (msg.type === "chat") log(msg.data.message);
};
client.onclose = (event) => show("who", `not connected (${event.code} ${event.reason})`);

document.getElementById("say").onsubmit = (event) => {
  event.preventDefault();
  const { to, id, text } = Object.fromEntries(new FormData(event.target));
  const data = { type: "chat", data: { message: text } };
  const events = {
    channel: { type: "channel", channel_ids: [channel], data },
    user: { type: "user", root_ids: [id], data },
    client: { type: "client", client_ids: [id], data },
    walker: { type: "walker", walker: "send_chat_to_group", context: { channel_id: channel, message: text } },
  };
  client.send(JSON.stringify(events[to]));
};

document.getElementById("account").onsubmit = async (event) => {
  event.preventDefault();
  const body = JSON.stringify(Object.fromEntries(new FormData(event.target)));
  const ask = (path) => fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body });
  if (event.submitter.value === "register") {
    const answer = await ask("/user/register");
    if (!answer.ok) return log(`refused: ${await answer.text()}`);
  }
  const answer = await ask("/user/login");
  const found = await answer.json();
  if (!answer.ok) return log(`refused: ${JSON.stringify(found)}`);
  client.send(JSON.stringify({ type: "change_user", token: `Bearer ${found.token}` }));
};
