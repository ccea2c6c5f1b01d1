/**
 * The action `rename-restart`: what is left of a domain is kept under another name, and a domain with its own name follows
 * it. The record of the one that is kept says so until the other exists, so that a xend that is killed meanwhile makes it
 * when it starts again, once.
 */
import { randomUUID } from 'node:crypto';
import { recordsDir } from '../host/paths.ts';
import type { Books } from './books.ts';
import { monitorCall } from './create.ts';
import type { Domain } from './domain.ts';
import { moveLogs } from './domain-logs.ts';
import { type Operation, operation, step } from './operation.ts';
import { logLine, tell, type XendPorts } from './ports.ts';
import { type Successor, saveRecord } from './record.ts';

/** Makes and starts a domain. */
export type Follow = (successor: Successor) => Promise<void>;

export interface SuccessionContext {
  readonly domain: Domain;
  readonly ports: XendPorts;
  readonly books: Books;
  readonly follow: Follow;
  /** The name that what is left gets. */
  readonly keptAs: string;
}

export const RENAME_RESTART: Operation<SuccessionContext> = operation('rename-restart', [
  // Its disks are wanted by the domain that follows.
  step('keep what is left', (c) => monitorCall(c, 'keep')),
  step('note its other name and who follows', ({ domain, ports, books, keptAs }) => {
    const { record, config } = domain;
    record.successor = { config: { ...config, uuid: randomUUID() }, restartsMs: record.restartsMs };
    record.decided = domain.decided;
    delete record.wanted;
    books.rename(domain, keptAs); // Writes the record, all of this at once.
    tell(ports, `d${domain.domid} "${config.name}" is kept as "${domain.name}"`);
  }),
  step('move its log files', ({ domain, ports }) => moveLogs(domain, ports)),
  step('make the one that follows', succeed),
]);

/** Make the domain that is to follow, if there is to be one and it has not been made. */
export async function succeed({ domain, ports, books, follow }: Omit<SuccessionContext, 'keptAs'>): Promise<void> {
  const { successor } = domain.record;
  if (!successor) return;
  try {
    const { uuid } = successor.config;
    // One that a killed xend was making is cleaned up first; one that it had made starts by its own record.
    if (books.has(uuid)) await books.find(uuid).work.idle();
    if (!books.has(uuid)) await follow(successor);
  } catch (error) {
    const { message } = error as Error;
    logLine(ports, 'ERROR', `in place of domain ${domain.domid} "${domain.name}": ${message}`);
  }
  delete domain.record.successor;
  if (books.holds(domain)) saveRecord(recordsDir(ports.paths), domain.record);
}
