// The original as a client: `node client.js URL`. Prints what came of the transcript's requests.
var Client = require("./lib/index.js").Client;
var client = new Client({ logLevel: "none" });
var seen = { partials: [] };

client.on("message", "told", function (context) {
  seen.told = context.message;
});
client.on("request", function (context) {
  seen.asked = context.message;
  context.partial({ n: 1 });
  context.reply({ mine: 1 });
});
client.on("error", function (error) {
  seen.failed = String(error);
});
client.on("close", function (code, reason) {
  seen.closed = [code, reason];
  console.log(JSON.stringify(seen));
});

client.connect(process.argv[2], function (error, connection) {
  if (error) throw error;
  connection.send({ hello: 1 }, function (error) {
    seen.sent = error;
    connection.send({ type: "tell me", text: "psst" }, function () {});
    connection.request({ question: "q" }, function (error, reply, partial) {
      if (partial) seen.partials.push(partial.message.n);
      if (reply) {
        seen.reply = reply.message.answer;
        connection.request({ type: "fail" }, function (error) {
          seen.error = error.message;
          connection.request({ type: "ask me", ask: { key: "s1" } }, function (error, reply) {
            seen.back = reply.message;
            connection.close(4001, "done");
          });
        });
      }
    });
  });
});
