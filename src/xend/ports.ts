/** What xend's parts share: where files are, the store, the log, the messages that `xm dmesg` shows, the events, the clock. */
import type { Paths } from '../host/paths.ts';
import type { DomainStore } from './domain-store.ts';
import type { EventLog, Subject } from './events.ts';
import type { Level, MessageBuffer, XendLog } from './log.ts';
import type { WorkObserver } from './work-queue.ts';
import type { XendConfig } from './xend-config.ts';

export interface XendPorts {
  readonly paths: Paths;
  readonly store: DomainStore;
  readonly log: XendLog;
  readonly messages: MessageBuffer;
  readonly events: EventLog;
  /** A domain's console is on this port plus its id, unless its configuration names one. */
  readonly consolePortBase: number;
  /** Every domain that crashes leaves a core. */
  readonly dumpsCrashes: boolean;
  /** What `xend-config.sxp` and the defaults came to when this xend started. */
  readonly settings: XendConfig;
  now(): number;
  readonly patience: Patience;
  /** Told at each step of any work on a domain, when it begins; and of the work's end. For tests of what a crash leaves. */
  atStep?(subject: Subject, work: string, step: string): void;
}

/** How long others are waited for. */
export interface Patience {
  /** A guest that is to let go of a disk. */
  readonly diskMs: number;
  /** How often each monitor says that it lives, and how many times in a row that may be missed. */
  readonly pulseMs: number;
  readonly pulses: number;
}
export const PATIENCE: Patience = { diskMs: 10_000, pulseMs: 20_000, pulses: 3 };

export function logLine({ log }: XendPorts, level: Level, text: string): void {
  log.write(level, 'xend', text);
}

/** Tell people: in the messages and in the log. */
export function tell(ports: XendPorts, text: string): void {
  ports.messages.add(text);
  logLine(ports, 'INFO', text);
}

/** Work on a domain shows as events and in the log. An operation's number is that of the event with which it began. */
export function observeWork(ports: XendPorts, subject: Subject): WorkObserver {
  const line = (text: string) => logLine(ports, 'DEBUG', `domain ${subject.domid} "${subject.name}": ${text}`);
  return {
    now: ports.now,
    begun(name) {
      const operation = ports.events.last + 1;
      return ports.events.emit('operation.begun', subject, { operation, name }).seq;
    },
    step({ id, name, step, at, of }) {
      line(`${name}: ${step}`);
      ports.atStep?.(subject, name, step ?? '');
      ports.events.emit('operation.step', subject, { operation: id, name, step, at, of });
    },
    note: ({ name }, text) => line(`${name}: ${text}`),
    ended({ id, name }, error) {
      ports.atStep?.(subject, name, 'ended');
      ports.events.emit('operation.ended', subject, { operation: id, name, ...(error && { error: error.message }) });
    },
  };
}
