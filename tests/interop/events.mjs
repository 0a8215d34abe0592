// The original documentation's "AUTHENTICATED - NPM WS LIBRARY", and the events it sends; frames go to stdout.
import WebSocket from 'ws';

const [url, token, channel] = process.argv.slice(2);
const client = new WebSocket(url, {
  headers: {
    "Authorization": `Bearer ${token}`
  }
});
const chat = (text) => ({ "type": "chat", "data": { "any_field": text } });

client.on("message", (raw, isBinary) => {
  const msg = JSON.parse(raw);
  console.log(JSON.stringify({ isBinary, msg }));
  if (msg.type === "connection") {
    const { client_id, root_id } = msg.data;
    client.send(JSON.stringify({ "type": "client", "client_ids": [client_id], "data": chat("client") }));
    client.send(JSON.stringify({ "type": "channel", "channel_ids": [channel], "data": chat("channel") }));
    client.send(JSON.stringify({ "type": "user", "root_ids": [root_id], "data": chat("user") }));
    client.send(JSON.stringify({
      "type": "walker", "walker": "send_chat_to_user", "response": true, "context": { "root_id": root_id }
    }));
  }
  if (msg.status || msg.error) client.close(1000);
});
client.on("close", (code) => console.log(JSON.stringify({ code })));
