// A mark of what the server has, of a topic of its socket: while it stays the same, nothing has to be asked again.
//
// new Changes("sessions"): mark is a string, or null as long as the server cannot tell; onChange(callback) -> a function that ends it

import { onState, watch } from "./socket.js";

export class Changes {
  constructor(topic) {
    this.mark = null;
    this.listeners = new Set();
    watch(topic, {}, (data) => this.become(JSON.stringify(data)), () => this.become(null));
    onState((state) => state === "live" || this.become(null));
  }

  onChange(callback) {
    this.listeners.add(callback);
    return () => this.listeners.delete(callback);
  }

  become(mark) {
    if (mark === this.mark) return;
    this.mark = mark;
    for (const callback of this.listeners) callback();
  }
}
