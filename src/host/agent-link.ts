/**
 * How one runs commands in a guest through its monitor's agent socket. The client sends one line of JSON, the request; the
 * monitor answers with one line, and from then on both send messages: a type, a length (u32, big-endian), that many bytes.
 */
import net from 'node:net';
import { parseJson, readFirstLine, type TerminalSize } from './console-link.ts';

export interface AgentRequest {
  /** Program and arguments: the program is looked for in the guest's PATH. */
  readonly argv: readonly string[];
  /** Besides PATH, HOME and their like, which a login would have. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Folder in the guest; root's home when not given. */
  readonly folder?: string;
  /** Run it on a terminal of this size: output and errors are one then. */
  readonly terminal?: TerminalSize;
  /** How long to wait for a guest whose agent does not run yet. */
  readonly waitMs?: number;
  /** What we send, or what it sends, is much: by a disk, if one can be plugged in (see STREAM_START). */
  readonly bulk?: 'in' | 'out';
}

/** With `disk`, the command finds its input, or leaves its output, on the disk that DOMUS_DISK names, from STREAM_START on. */
export type AgentAnswer = { readonly ok: true; readonly disk?: string } | { readonly error: string };

/** To the guest: Input, InputEnd, Signal (u8), Size (two u16). From it: Output, Errors, Exit (u8 code, u8 signal), Failed (text). */
export const AgentMessage = {
  Input: 0,
  InputEnd: 1,
  Signal: 2,
  Size: 3,
  Output: 4,
  Errors: 5,
  Exit: 6,
  Failed: 7,
} as const;

/** Of the request's line. */
export const REQUEST_MAX = 256 << 10;

const HEAD = 5;
/** Of a message: longer ones are cut by the sender. */
export const MESSAGE_MAX = 64 << 10;

export function makeMessage(type: number, bytes: Uint8Array = new Uint8Array(0)): Buffer {
  const message = Buffer.alloc(HEAD + bytes.length);
  message.writeUInt8(type, 0);
  message.writeUInt32BE(bytes.length, 1);
  message.set(bytes, HEAD);
  return message;
}

/** Cuts a stream into messages; throws on one that is too long. */
export function messageSplitter(use: (type: number, bytes: Buffer) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (rest.length >= HEAD) {
      const length = rest.readUInt32BE(1);
      if (length > MESSAGE_MAX) throw new Error(`a message of ${length} bytes`);
      if (rest.length < HEAD + length) return;
      const [type, bytes] = [rest.readUInt8(0), rest.subarray(HEAD, HEAD + length)];
      rest = rest.subarray(HEAD + length);
      use(type, bytes);
    }
  };
}

/** How a command in a guest ended: its code, or the signal that ended it. */
export interface AgentExit {
  readonly code: number;
  readonly signal: number;
}

/** The agent cannot be reached, or has refused: one line for people. */
export class AgentError extends Error {
  override readonly name = 'AgentError';
}

export interface AgentProcess {
  /** The disk by which input or output goes, when `bulk` was asked for and it does. */
  readonly disk: string | undefined;
  /** False: wait for `drained` before sending more. */
  send(bytes: Uint8Array): boolean;
  /** Resolves when more can be sent. */
  drained(): Promise<void>;
  end(): void;
  signal(number: number): void;
  resize(size: TerminalSize): void;
  /** Let go of it: it gets a hang-up. */
  close(): void;
  /** Rejects with an AgentError when the connection ends before the command. */
  readonly exit: Promise<AgentExit>;
  /** Read no more for now, and go on. */
  pause(): void;
  resume(): void;
}

export interface AgentOutput {
  output(bytes: Buffer): void;
  errors(bytes: Buffer): void;
}

/** Start a command; resolves when the guest has been told. Rejects with an AgentError. `signal` lets go of it, whatever it does. */
export function execInGuest(
  path: string,
  request: AgentRequest,
  to: AgentOutput,
  signal?: AbortSignal,
): Promise<AgentProcess> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ path, allowHalfOpen: true, ...(signal && { signal }) });
    const failed = (text: string) => {
      socket.destroy();
      reject(new AgentError(text));
    };
    const lost = () => failed('the domain has ended');
    socket.once('error', (error) => failed(`cannot reach the domain's agent: ${error.message}`));
    socket.once('end', lost);
    socket.write(`${JSON.stringify(request)}\n`);
    readFirstLine(socket, (line, rest) => {
      const answer = parseJson(line) as Partial<{ ok: true; disk: string; error: string }> | undefined;
      socket.off('end', lost);
      if (answer?.ok !== true) return failed(answer?.error ?? 'the monitor answers with something else');
      socket.pause();
      if (rest.length > 0) socket.unshift(rest);
      resolve(joinProcess(socket, to, answer.disk));
      // Whoever waits for us has what it needs before the first output comes.
      setImmediate(() => socket.resume());
    });
  });
}

function joinProcess(socket: net.Socket, to: AgentOutput, disk: string | undefined): AgentProcess {
  const exit = new Promise<AgentExit>((resolve, reject) => {
    const fail = (text: string) => {
      socket.destroy();
      reject(new AgentError(text));
    };
    const split = messageSplitter((type, bytes) => {
      if (type === AgentMessage.Output) to.output(bytes);
      else if (type === AgentMessage.Errors) to.errors(bytes);
      else if (type === AgentMessage.Failed) fail(bytes.toString());
      else if (type === AgentMessage.Exit) {
        socket.destroy();
        resolve({ code: bytes[0] ?? 0, signal: bytes[1] ?? 0 });
      }
    });
    socket.on('data', (chunk: Buffer) => {
      try {
        split(chunk);
      } catch (error) {
        fail((error as Error).message);
      }
    });
    socket.on('close', () => fail('the domain ended before the command did'));
    socket.on('end', () => fail('the domain ended before the command did'));
  });
  exit.catch(() => {}); // For those who let go of it without waiting.
  const write = (type: number, bytes?: Uint8Array) => socket.writable && socket.write(makeMessage(type, bytes));
  return {
    disk,
    exit,
    send(bytes) {
      let more = true;
      for (let at = 0; at < bytes.length; at += MESSAGE_MAX)
        more = write(AgentMessage.Input, bytes.subarray(at, at + MESSAGE_MAX));
      return more;
    },
    drained: () =>
      new Promise((resolve) => {
        const done = () => {
          socket.off('drain', done);
          socket.off('close', done);
          resolve();
        };
        if (!socket.writableNeedDrain || socket.destroyed) return resolve();
        socket.on('drain', done);
        socket.on('close', done);
      }),
    end: () => void write(AgentMessage.InputEnd),
    signal: (number) => void write(AgentMessage.Signal, Uint8Array.of(number)),
    resize({ columns, rows }) {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt16BE(columns, 0);
      bytes.writeUInt16BE(rows, 2);
      write(AgentMessage.Size, bytes);
    },
    close: () => void socket.destroy(),
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
  };
}
