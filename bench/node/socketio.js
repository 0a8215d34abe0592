// Socket.IO as its documentation writes a chat room: `node socketio.js PORT`.
import { createServer } from "node:http";
import { Server } from "socket.io";

const server = createServer();
const io = new Server(server);

io.on("connection", (socket) => {
  socket.join("load");
  socket.on("chat", (message) => io.to("load").emit("chat", message));
  if (socket.handshake.query.name) socket.join(`name ${socket.handshake.query.name}`);
  socket.on("to", (name, message) => io.to(`name ${name}`).emit("chat", message));
  socket.on("ask", (message, reply) => reply(message));
  socket.on("echo", (message) => socket.emit("chat", message));
});

server.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
