/** Any JSON object; `key`, `direction` and `type` are the protocol's own fields. */
export type Message = Record<string, unknown>;
export type Callback<T = void> = (error: unknown, value?: T) => void;
export type AnswerCallback = (error: unknown, reply?: Context | null, partial?: Context) => void;

export interface ConnectOptions {
  /** API key; sent as the first request, so that it is in no URL. */
  key?: string;
  /**
   * An access token, or a function that returns one, or a promise of one: it is called for each socket, and again
   * before the token expires. It stands in the URL of the socket.
   */
  token?: string | (() => string | Promise<string>);
  /** Come back after a lost connection, as its close code advises. Default: true. */
  reconnect?: boolean;
  /** Let `send` wait until the server has the message. Default: true. */
  receipts?: boolean;
  /** Further subprotocols to offer. */
  protocols?: string[];
  /** The WebSocket class, where the platform has none. */
  WebSocket?: unknown;
}

export interface SendOptions {
  /** Milliseconds to wait for the answer or the receipt. Default: no limit. */
  timeout?: number;
  /** Send the JSON as a binary frame. */
  binary?: boolean;
  /** Accepted and ignored. */
  mask?: boolean;
  /** Accepted and ignored. */
  compress?: boolean;
}

export interface Delivery {
  address: string;
  message: unknown;
  /** "message", or another event of the address. */
  event: string;
  /** Where it stands in the stream of the address; undefined without history. */
  epoch?: string;
  offset?: number;
  /** Where it stands in the streams of all its addresses that this connection subscribes to. */
  positions: Record<string, Position>;
}

/** A place in the stream of an address with history. */
export interface Position {
  epoch: string;
  offset: number;
}

export interface SubscribeOptions {
  /** After a reconnect what was missed comes first; the events `recovered` and `gap` tell whether it does. */
  recover?: boolean;
  /** So many messages that are kept of each address come at once. */
  last?: number;
  /** The event `presence` tells who comes and goes. */
  notices?: boolean;
}

export interface PublishOptions {
  /** 1 to 64 printable characters, the same for what shall arrive once. Default: one of its own. */
  id?: string;
  /** Milliseconds to wait for the answer, 240,000 at most. */
  timeout?: number;
}

export interface HistoryOptions {
  /** What follows this position, in place of the newest. */
  since?: Position;
  limit?: number;
  /** Descending. */
  reverse?: boolean;
}

/** A message of a batch. */
export interface Publish {
  addresses: string[];
  message: unknown;
  id?: string;
}

export interface Present {
  id: string;
  protocol: string;
  identity: string;
}

/** A notice of who has come to an address and who has left it. */
export interface Presence {
  address: string;
  /** All that are there now. */
  count: number;
  joined: Present[];
  left: Present[];
  /** There were too many to be listed. */
  truncated: boolean;
}

/** What was missed at an address comes, up to this position. */
export interface Recovered {
  address: string;
  position: Position;
}

/** Messages of an address that recovers may be missing. */
export interface Gap {
  address: string;
}

export function connect(url: string, options?: ConnectOptions): Promise<Connection>;
export function connect(url: string, callback: Callback<Connection>): void;
export function connect(url: string, options: ConnectOptions, callback: Callback<Connection>): void;

export class Connection {
  private constructor();
  /** A version 4 uuid of this end. */
  readonly id: string;
  readonly isOpen: boolean;
  /** Does the other end tell of messages that they have come? */
  readonly receipts: boolean;
  /** Resolves when the connection has ended for good. */
  readonly closed: Promise<ConnectionClosed>;

  send(message: Message, options?: SendOptions): Promise<void>;
  send(message: Message, callback: Callback): void;
  send(message: Message, options: SendOptions, callback: Callback): void;
  request(message: Message, options?: SendOptions): Request;
  request(message: Message, callback: AnswerCallback): Request;
  request(message: Message, options: SendOptions, callback: AnswerCallback): Request;
  close(code?: number, reason?: string): Promise<void>;
  close(code: number, reason: string, callback: Callback): void;

  publish(addresses: string[], message: unknown, options?: PublishOptions): Request;
  publishBatch(messages: Publish[], options?: { timeout?: number }): Promise<Context>;
  history(address: string, options?: HistoryOptions): Request;
  subscribe(...addresses: string[]): Promise<void>;
  subscribe(...addressesAndOptions: [...addresses: string[], options: SubscribeOptions]): Promise<void>;
  unsubscribe(...addresses: string[]): Promise<void>;
  authenticate(key: string): Promise<Context>;

  on(event: "message", handler: (context: Context) => unknown): this;
  on(event: "message", type: string | number, handler: (context: Context) => unknown): this;
  on(event: "request", handler: (context: RequestContext) => unknown): this;
  on(event: "request", type: string | number, handler: (context: RequestContext) => unknown): this;
  on(event: "delivery", handler: (delivery: Delivery) => void): this;
  on(event: "presence", handler: (notice: Presence) => void): this;
  on(event: "recovered", handler: (recovered: Recovered) => void): this;
  /** The connection where anything may be missing; `{ address }` where it is one that recovers. */
  on(event: "gap", handler: (gap: Gap | Connection) => void): this;
  on(event: "reconnect", handler: (connection: Connection) => void): this;
  on(event: "close", handler: (code: number, reason: string, connection: Connection) => void): this;
  on(event: "error", handler: (error: unknown) => void): this;
}

/** A promise of the reply, and an async iterable of the partials. */
export class Request implements PromiseLike<Context>, AsyncIterable<Context> {
  readonly done: boolean;
  then<A = Context, B = never>(
    fulfilled?: ((reply: Context) => A | PromiseLike<A>) | null,
    rejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B>;
  catch<B = never>(rejected?: ((error: unknown) => B | PromiseLike<B>) | null): Promise<Context | B>;
  finally(settled?: (() => void) | null): Promise<Context>;
  onPartial(listener: (partial: Context) => void): this;
  cancel(): void;
  [Symbol.asyncIterator](): AsyncIterator<Context>;
}

export class Context {
  readonly connection: Connection;
  /** The whole object that came: `reply.message.answer`. */
  readonly message: any;
  readonly type: unknown;
}

export class RequestContext extends Context {
  readonly answered: boolean;
  reply(message?: Message, options?: SendOptions): Promise<void>;
  reply(message: Message, callback: Callback): void;
  error(message?: Message, options?: SendOptions): Promise<void>;
  error(message: Message, callback: Callback): void;
  partial(message?: Message, options?: SendOptions): Promise<void>;
  partial(message: Message, callback: Callback): void;
}

/** The other end answered with ERROR; `message` is the object it sent. */
export class RequestError extends Error {
  message: any;
  readonly code: unknown;
  readonly connection: Connection;
}

export class ConnectionClosed extends Error {
  readonly code: number;
  readonly reason: string;
  /** Milliseconds that a server asks to wait which has refused with 503 or 429; undefined where it did not. */
  readonly later?: number;
}

/** No reply came in time, or the request was cancelled. */
export class Unanswered extends Error {}

/** A second answer: nothing was sent. */
export class Answered extends Error {}
