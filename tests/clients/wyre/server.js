// The original as a server: `node server.js PORT`.
var Server = require("./lib/index.js").Server;
var server = new Server({ logLevel: "none" });

server.on("message", function () {});
server.on("message", "tell me", function (context) {
  context.connection.send({ type: "told", text: context.message.text });
});
server.on("request", function (context) {
  context.partial({ n: 1 });
  context.partial({ n: 2 });
  context.reply({ answer: "ok" });
});
server.on("request", "echo", function (context) {
  context.reply(context.message);
});
server.on("request", "fail", function (context) {
  context.error({ message: "nope", code: 7 });
});
server.on("request", "ask me", function (context) {
  context.connection.request({ kind: "ok" }, function (error, reply, partial) {
    if (error) context.reply({ error: error.message });
    if (reply) context.reply({ got: reply.message });
    if (partial) context.partial({ n: partial.message.n });
  });
});
server.listen({ host: "127.0.0.1", port: Number(process.argv[2]) }, function () {});
