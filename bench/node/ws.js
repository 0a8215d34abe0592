// The broadcast of the documentation of `ws`: `node ws.js PORT`. The path /echo answers its sender alone.
import { createServer } from "node:http";
import WebSocket, { WebSocketServer } from "ws";

const server = createServer();
const sockets = new WebSocketServer({ server });

sockets.on("connection", (socket, request) => {
  const echoes = request.url === "/echo";
  socket.on("message", (data, isBinary) => {
    const receivers = echoes ? [socket] : sockets.clients;
    for (const client of receivers) {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary: isBinary });
    }
  });
});

server.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
