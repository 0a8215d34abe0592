// The tokens protocol in "Try it".

import { definePanel } from "../console/js/try/panel.js";
import { withQuery } from "../console/js/try/server.js";

const RECEIVERS = {
  name: "receivers",
  label: "Receivers",
  value: "demo",
  hint: "Tokens with commas; group/ is every token below group/.",
};

const formApi = (fields) => ({ method: "POST", path: "/api/", form: fields });

definePanel("tokens", {
  clients: ["A", "B"],
  connection: {
    fields: [
      { name: "token", label: "Token", values: ["demo", "group/item1"], hint: "Empty: unregistered." },
      { name: "last", label: "Last messages first", more: true, hint: "A number, at a token with history." },
      { name: "access_token", label: "Access token", secret: true, more: true },
    ],
    path: ({ token, last, access_token }) => withQuery("/ws", { RegisterToken: token, last, access_token }),
  },
  acts: [
    {
      name: "broadcast",
      label: "Broadcast",
      about: "Every client whose token is among the receivers gets the text, the sender included.",
      fields: [RECEIVERS, { name: "text", label: "Text", value: "Hello" }],
      frame: ({ receivers, text }) => `${receivers}|${text}`,
      curl: ({ receivers, text }) => formApi({ method: "broadcast", message: `${receivers}|${text}` }),
    },
    {
      name: "register",
      label: "RegisterToken",
      about: "The client is known by this token from here on. There is no answer.",
      fields: [{ name: "token", label: "Token", value: "group/item1" }],
      frame: ({ token }) => `RegisterToken:${token}`,
    },
    {
      name: "echo",
      label: "Echo",
      about: "The text comes back, unchanged.",
      fields: [{ name: "text", label: "Text", value: "Is anybody there?" }],
      frame: ({ text }) => `Echo:${text}`,
    },
    {
      name: "raw",
      label: "Any frame",
      about: "As it is. Text that is neither of the others is ignored.",
      fields: [{ name: "text", label: "Frame", value: "a service message" }],
      frame: ({ text }) => text,
    },
    {
      name: "publish",
      label: "POST /api/publish",
      about: "The same from outside, for addresses of all protocols.",
      fields: [
        { name: "addresses", label: "Addresses", kind: "words", value: "token:demo" },
        { name: "message", label: "Message", kind: "value", value: "Hello", hint: "JSON, or a text." },
      ],
      request: ({ addresses, message }) => ({
        method: "POST",
        path: "/api/publish",
        body: { addresses, message },
      }),
    },
    {
      name: "form-broadcast",
      label: "Form: broadcast",
      about: "The form API, as in the original; with a key it takes GET, too.",
      fields: [RECEIVERS, { name: "text", label: "Text", value: "Hello" }],
      request: ({ receivers, text }) => formApi({ method: "broadcast", message: `${receivers}|${text}` }),
    },
    {
      name: "get_clients",
      label: "Form: get_clients",
      about: "Network addresses of connected clients, with their tokens.",
      request: () => formApi({ method: "get_clients" }),
    },
    {
      name: "registerToken",
      label: "Form: registerToken",
      about: "Registered tokens are let in where TOKENS_ALLOW_UNREGISTERED=no.",
      fields: [{ name: "token", label: "Token", value: "demo" }],
      request: ({ token }) => formApi({ method: "registerToken", token }),
    },
    {
      name: "unregisterToken",
      label: "Form: unregisterToken",
      about: "Where only registered tokens are let in, its clients are closed with 4403.",
      fields: [{ name: "token", label: "Token", value: "demo" }],
      request: ({ token }) => formApi({ method: "unregisterToken", token }),
    },
    {
      name: "registeredTokenList",
      label: "Form: registeredTokenList",
      about: "Registered tokens; false: disabled.",
      request: () => formApi({ method: "registeredTokenList" }),
    },
  ],
});
