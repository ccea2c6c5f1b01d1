/**
 * What xend remembers of a domain on disk, one JSON file each: enough to find the domain's monitor again and to go on, or
 * to clean up, after being killed at any moment. Files are replaced whole by a rename.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { Disk, DomainConfig } from '../config/domain-config.ts';
import { DRAFT, writeAtomically } from '../host/atomic-file.ts';
import type { MachineExit } from '../monitor/machine-types.ts';

/** What a domain is made of that follows one with the same name. Its uuid is chosen before: whoever makes it, it is made once. */
export interface Successor {
  readonly config: DomainConfig & { readonly uuid: string };
  readonly restartsMs: number[];
}

export interface DomainRecord {
  readonly version: 1;
  readonly uuid: string;
  readonly domid: number;
  config: DomainConfig;
  /** creating and ending: if xend finds it so at its start, it undoes what there is. */
  phase: 'creating' | 'alive' | 'ending';
  readonly createdAtMs: number;
  /** Moments of restarts, the last few. */
  restartsMs: number[];
  /** The name that its monitor has its log files under, when the domain was given another one since. */
  loggedAs?: string;
  /** What `xm reboot` or `xm shutdown -H` asked for; stronger than the on_... variables. */
  wanted?: 'restart' | 'destroy';
  /** A disk that is being attached or detached: if xend finds it so at its start, it puts that right (disks.ts). */
  changing?: { readonly what: 'attach' | 'detach'; readonly disk: Disk };
  /** A domain that is to be made in place of this one, which was kept under another name (successor.ts). */
  successor?: Successor;
  /** It is to run once it is built, without anybody's asking: whichever xend finds it built starts it. */
  starts?: true;
  /** The build of its monitor whose end has been dealt with for good: what there is of it is kept. */
  decided?: number;
  /** Why it is ending, so that a killed xend still tells. */
  exit?: MachineExit;
}

export const recordFile = (dir: string, uuid: string): string => path.join(dir, `${uuid}.json`);

export function saveRecord(dir: string, record: DomainRecord): void {
  writeAtomically(recordFile(dir, record.uuid), `${JSON.stringify(record, null, 1)}\n`);
}

export function removeRecord(dir: string, uuid: string): void {
  rmSync(recordFile(dir, uuid), { force: true });
}

/** All records of a folder. A file that cannot be read is reported and left alone. */
export function loadRecords(dir: string, complain: (text: string) => void): DomainRecord[] {
  const records: DomainRecord[] = [];
  for (const name of readdirSync(dir).sort()) {
    if (name.endsWith(DRAFT)) rmSync(path.join(dir, name), { force: true });
    if (!name.endsWith('.json')) continue;
    try {
      const record = JSON.parse(readFileSync(path.join(dir, name), 'utf8')) as DomainRecord;
      if (record.version !== 1 || typeof record.domid !== 'number' || `${record.uuid}.json` !== name) {
        throw new Error('not a domain record of this version');
      }
      records.push(record);
    } catch (error) {
      complain(`${path.join(dir, name)}: ${(error as Error).message}`);
    }
  }
  return records;
}

/** A small JSON value on disk: the next domain id, the latest exits. */
export class JsonFile<T> {
  readonly #file: string;
  value: T;

  constructor(file: string, initial: T) {
    this.#file = file;
    this.value = initial;
    try {
      this.value = JSON.parse(readFileSync(file, 'utf8')) as T;
    } catch {
      // Not there yet, or unreadable: it begins anew.
    }
  }

  save(): void {
    writeAtomically(this.#file, JSON.stringify(this.value));
  }
}
