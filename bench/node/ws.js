// The broadcast of the documentation of `ws`: `node ws.js PORT [COMPRESSION]`, where COMPRESSION are the options
// of its `perMessageDeflate` as JSON. The path /echo answers its sender alone.
import { createServer } from "node:http";
import WebSocket, { WebSocketServer } from "ws";

const [, , port, compression = "false"] = process.argv;
const server = createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate: JSON.parse(compression) });

sockets.on("connection", (socket, request) => {
  const echoes = request.url === "/echo";
  socket.on("message", (data, isBinary) => {
    const receivers = echoes ? [socket] : sockets.clients;
    for (const client of receivers) {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary: isBinary });
    }
  });
});

server.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 });
