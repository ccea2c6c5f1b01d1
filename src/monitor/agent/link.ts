/**
 * The monitor's end of the channel to the agent in the guest: sessions, each a command that runs there. Input is sent as far
 * as the agent has said that it has room; output is allowed as far as its reader has room, so a session that stands still
 * holds up no other, and what waits here is bounded: INPUT_WINDOW bytes a session. An agent that breaks the rules is not
 * listened to until it says hello again.
 */
import type { TerminalSize } from '../../host/console-link.ts';
import { FRAME_MAX, type Frame, FrameReader, FrameType, makeFrame, u16s, u32 } from './frames.ts';

export interface ExecRequest {
  readonly argv: readonly string[];
  /** NAME=VALUE, all of them. */
  readonly environment: readonly string[];
  readonly folder: string;
  /** On a terminal of this size. */
  readonly terminal?: TerminalSize;
}

export interface SessionEvents {
  output(stream: 'out' | 'err', bytes: Uint8Array): void;
  /** Input can be sent again after `send` returned false. */
  drained(): void;
  /** It has ended, or `why` it cannot be told how. Nothing more comes. */
  exit(how: { readonly code: number; readonly signal: number } | { readonly why: string }): void;
}

export interface AgentPorts {
  /** Offer bytes for the guest; says how many were taken. */
  send(bytes: Uint8Array): number;
  log(level: 'info' | 'warn', text: string): void;
  /** An agent is there now. */
  greeted?(): void;
}

export const AGENT_VERSION = 1;
const SESSIONS_MAX = 0xffff;
const INPUT_WINDOW_MAX = 1 << 20;
const PIECE = 4096;

export class AgentLink {
  readonly #ports: AgentPorts;
  readonly #reader = new FrameReader();
  readonly #sessions = new Map<number, Session>();
  readonly #queue: Uint8Array[] = [];
  readonly #waiters = new Set<() => void>();
  #hello: { readonly sessions: number; readonly window: number } | undefined;
  #lastId = 0;

  constructor(ports: AgentPorts) {
    this.#ports = ports;
  }

  /** An agent has said hello on this channel, and not gone since. */
  get present(): boolean {
    return this.#hello !== undefined;
  }

  /** Bytes from the guest. */
  receive(bytes: Uint8Array): void {
    this.#reader.take(bytes, (frame) => this.#frame(frame));
  }

  /** The guest has connected its end, or has let go of it. */
  changed(): void {
    this.#reader.reset();
    this.#queue.length = 0;
    this.#hello = undefined;
    this.#failAll("the guest's end of the agent's channel was closed");
  }

  /** The guest takes bytes again. */
  drain(): void {
    while (this.#queue.length > 0) {
      const frame = this.#queue[0]!;
      const taken = this.#ports.send(frame);
      if (taken < frame.length) {
        this.#queue[0] = frame.subarray(taken);
        return;
      }
      this.#queue.shift();
    }
  }

  /** Resolves when an agent is there, or false after a time or when `signal` fires. */
  async wait(ms: number, signal: AbortSignal): Promise<boolean> {
    if (this.present || ms <= 0) return this.present;
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        this.#waiters.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener('abort', done);
      this.#waiters.add(done);
    });
    return this.present;
  }

  /** Run a command, or say in one line why that cannot be. */
  exec(request: ExecRequest, events: SessionEvents): Session | string {
    const hello = this.#hello;
    if (!hello) return 'no agent';
    if (this.#sessions.size >= hello.sessions) return `the agent runs ${hello.sessions} commands already`;
    const payload = execPayload(request);
    if (payload === undefined)
      return `its arguments and variables are more than ${FRAME_MAX} bytes, or have NUL in them`;
    do this.#lastId = (this.#lastId % SESSIONS_MAX) + 1;
    while (this.#sessions.has(this.#lastId));
    const id = this.#lastId;
    const session = new Session(id, hello.window, events, (type, bytes) => this.#send(type, id, bytes));
    this.#sessions.set(id, session);
    this.#send(FrameType.Exec, id, payload);
    return session;
  }

  /** The size of the terminal that somebody types on the console with. */
  resizeConsole({ columns, rows }: TerminalSize): void {
    if (this.present) this.#send(FrameType.Size, 0, u16s(columns, rows));
  }

  /** Nobody will read the session's output any more. */
  abandon(session: Session): void {
    if (this.#sessions.get(session.id) !== session) return;
    this.#sessions.delete(session.id);
    this.#send(FrameType.Close, session.id);
  }

  /** The machine is gone. */
  end(): void {
    this.changed();
    for (const wake of this.#waiters) wake();
  }

  #frame({ type, session: id, payload }: Frame): void {
    if (type === FrameType.Hello) {
      this.#greeted(payload);
      return;
    }
    if (!this.#hello) return;
    const session = this.#sessions.get(id);
    if (!session) return; // What was on its way when the session was given up.
    switch (type) {
      case FrameType.Output:
      case FrameType.Errors:
        if (session.output(type === FrameType.Output ? 'out' : 'err', payload)) return;
        this.#broken(`session ${id} sends more than it may`);
        return;
      case FrameType.Credit:
        if (payload.length === 4 && session.credit(numberAt(payload, 0))) return;
        this.#broken(`session ${id} takes more than it was sent`);
        return;
      case FrameType.Exit:
        this.#sessions.delete(id);
        session.ended({ code: payload[0] ?? 0, signal: payload[1] ?? 0 });
        return;
      default:
        this.#broken(`a frame of type ${type}`);
        return;
    }
  }

  #greeted(payload: Uint8Array): void {
    const [version = 0, sessions = 0] = payload;
    const window = payload.length >= 6 ? numberAt(payload, 2) : 0;
    this.#failAll('the agent was started again');
    this.#queue.length = 0;
    if (version < AGENT_VERSION || sessions === 0 || window < PIECE || window > INPUT_WINDOW_MAX) {
      this.#hello = undefined;
      this.#ports.log('warn', `agent: a hello of version ${version} with ${sessions} sessions of ${window} bytes`);
      return;
    }
    this.#hello = { sessions, window };
    this.#ports.greeted?.();
    for (const wake of this.#waiters) wake();
  }

  #broken(why: string): void {
    this.#ports.log('warn', `agent: ${why}`);
    this.#hello = undefined;
    this.#failAll('the agent in the guest is out of order');
    this.#send(FrameType.Reset, 0);
  }

  #failAll(why: string): void {
    const sessions = [...this.#sessions.values()];
    this.#sessions.clear();
    for (const session of sessions) session.ended({ why });
  }

  #send(type: number, session: number, payload?: Uint8Array): void {
    this.#queue.push(makeFrame(type, session, payload));
    if (this.#queue.length === 1) this.drain();
  }
}

export class Session {
  readonly id: number;
  readonly #events: SessionEvents;
  readonly #send: (type: number, payload?: Uint8Array) => void;
  readonly #window: number;
  /** Bytes of input that the agent has room for. */
  #room: number;
  /** Bytes of output that it may send. */
  #allowed = 0;
  #waiting: Uint8Array[] = [];
  #last = false;
  #open = true;

  constructor(id: number, window: number, events: SessionEvents, send: (type: number, payload?: Uint8Array) => void) {
    this.id = id;
    this.#window = window;
    this.#room = window;
    this.#events = events;
    this.#send = send;
  }

  /** Its reader has room for so many more bytes. */
  allow(bytes: number): void {
    if (!this.#open || bytes <= 0) return;
    this.#allowed += bytes;
    this.#send(FrameType.Credit, u32(bytes));
  }

  /** False: send no more until `drained`. */
  send(bytes: Uint8Array): boolean {
    if (this.#open) this.#waiting.push(bytes);
    this.#push();
    return this.#waiting.length === 0;
  }

  /** No more input. */
  end(): void {
    this.#last = true;
    this.#push();
  }

  signal(number: number): void {
    if (this.#open) this.#send(FrameType.Signal, Uint8Array.of(number));
  }

  resize({ columns, rows }: TerminalSize): void {
    if (this.#open) this.#send(FrameType.Size, u16s(columns, rows));
  }

  /** False: more than was allowed. */
  output(stream: 'out' | 'err', bytes: Uint8Array): boolean {
    this.#allowed -= bytes.length;
    if (this.#allowed < 0) return false;
    this.#events.output(stream, bytes.slice());
    return true;
  }

  credit(bytes: number): boolean {
    this.#room += bytes;
    if (this.#room > this.#window) return false;
    const waited = this.#waiting.length > 0;
    this.#push();
    if (waited && this.#waiting.length === 0) this.#events.drained();
    return true;
  }

  ended(how: Parameters<SessionEvents['exit']>[0]): void {
    this.#open = false;
    this.#waiting = [];
    this.#events.exit(how);
  }

  #push(): void {
    if (!this.#open) return;
    while (this.#waiting.length > 0 && this.#room > 0) {
      const chunk = this.#waiting[0]!;
      const part = chunk.subarray(0, Math.min(PIECE, this.#room));
      this.#room -= part.length;
      this.#send(FrameType.Input, part);
      if (part.length < chunk.length) this.#waiting[0] = chunk.subarray(part.length);
      else this.#waiting.shift();
    }
    if (!this.#last || this.#waiting.length > 0) return;
    this.#last = false;
    this.#send(FrameType.InputEnd);
  }
}

const numberAt = (bytes: Uint8Array, at: number): number =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at, true);

function execPayload({ argv, environment, folder, terminal }: ExecRequest): Uint8Array | undefined {
  const texts = [folder, ...argv, ...environment];
  if (texts.some((text) => text.includes('\0'))) return undefined;
  const head = u16s(terminal ? 1 : 0, terminal?.columns ?? 0, terminal?.rows ?? 0, argv.length, environment.length);
  const body = new TextEncoder().encode(texts.map((text) => `${text}\0`).join(''));
  if (head.length + body.length > FRAME_MAX) return undefined;
  const payload = new Uint8Array(head.length + body.length);
  payload.set(head);
  payload.set(body, head.length);
  return payload;
}
