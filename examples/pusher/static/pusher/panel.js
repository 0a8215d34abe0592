// The Pusher protocol in "Try it": all that a protocol of one's own needs for a panel, beside its template.

import { definePanel } from "../console/js/try/panel.js";

const CHANNEL = { name: "channel", label: "Channel", value: "news" };

definePanel("pusher", {
  connection: { fields: [], path: () => "/app/switchboard" },
  acts: [
    {
      name: "subscribe",
      label: "pusher:subscribe",
      about: "Messages of the channel come from now on.",
      fields: [CHANNEL],
      frame: ({ channel }) => ({ event: "pusher:subscribe", data: { channel } }),
    },
    {
      name: "unsubscribe",
      label: "pusher:unsubscribe",
      fields: [CHANNEL],
      frame: ({ channel }) => ({ event: "pusher:unsubscribe", data: { channel } }),
    },
    {
      name: "ping",
      label: "pusher:ping",
      about: "The server answers pusher:pong.",
      frame: () => ({ event: "pusher:ping", data: {} }),
    },
    {
      name: "publish",
      label: "POST /api/publish",
      about: "Clients of Pusher send nothing to each other: a backend publishes.",
      fields: [
        CHANNEL,
        {
          name: "message",
          label: "Message",
          kind: "value",
          value: '{"event": "headline", "data": {"text": "Hello"}}',
        },
      ],
      request: ({ channel, message }) => ({
        method: "POST",
        path: "/api/publish",
        body: { addresses: [`pusher:${channel}`], message },
      }),
    },
  ],
});
