/** What xend's parts share: where files are, the store, the log, the messages that `xm dmesg` shows, the clock. */
import type { Paths } from '../host/paths.ts';
import type { DomainStore } from './domain-store.ts';
import type { Level, MessageBuffer, XendLog } from './log.ts';

export interface XendPorts {
  readonly paths: Paths;
  readonly store: DomainStore;
  readonly log: XendLog;
  readonly messages: MessageBuffer;
  now(): number;
}

export function logLine({ log }: XendPorts, level: Level, text: string): void {
  log.write(level, 'xend', text);
}

/** Tell people: in the messages and in the log. */
export function tell(ports: XendPorts, text: string): void {
  ports.messages.add(text);
  logLine(ports, 'INFO', text);
}
