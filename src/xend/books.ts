/** The books: which domains there are, under which names and ids, and how much memory they have been promised. */
import path from 'node:path';
import { recordsDir } from '../host/paths.ts';
import type { Domain } from './domain.ts';
import { XendError } from './errors.ts';
import { DOMAIN_OVERHEAD_MIB, freeMemoryMiB, totalMemoryMiB } from './node-info.ts';
import type { XendPorts } from './ports.ts';
import { JsonFile, saveRecord } from './record.ts';

const DOMID_LIMIT = 0x7ff0;

export const isDomain0 = (name: string): boolean => name === 'Domain-0' || name === '0';

export class Books {
  readonly #ports: XendPorts;
  readonly #domains = new Map<string, Domain>();
  readonly #nextDomid: JsonFile<number>;

  constructor(ports: XendPorts) {
    this.#ports = ports;
    this.#nextDomid = new JsonFile(path.join(ports.paths.lib, 'next-domid.json'), 1);
  }

  all(): Domain[] {
    return [...this.#domains.values()];
  }

  has(uuid: string): boolean {
    return this.#domains.has(uuid);
  }

  /** Is this very domain still in the books? */
  holds(domain: Domain): boolean {
    return this.#domains.get(domain.uuid) === domain;
  }

  /** By name, else by id or uuid. */
  find(name: string): Domain {
    const domains = this.all();
    const domain =
      domains.find((one) => one.name === name) ??
      domains.find((one) => String(one.domid) === name || one.uuid === name.toLowerCase());
    if (domain) return domain;
    throw new XendError('domain-not-found', name);
  }

  /** As `find`, for what cannot be done to Domain-0. */
  guest(name: string, verb: string): Domain {
    if (isDomain0(name)) throw new XendError('domain-0', verb);
    return this.find(name);
  }

  memoryInUse(): number[] {
    return this.all().map(({ config }) => config.memoryMiB);
  }

  /** Enter a domain whose record another xend wrote. */
  enter(domain: Domain): void {
    this.#domains.set(domain.uuid, domain);
  }

  /** Take name, id and memory for a new domain and write its record; throws when they are taken. */
  reserve(domain: Domain): void {
    const { config, uuid, name } = domain;
    this.checkName(name);
    for (const other of this.#domains.values()) {
      if (other.uuid === uuid) throw new XendError('uuid-clash', uuid, other.name);
    }
    const free = freeMemoryMiB(totalMemoryMiB(), this.memoryInUse());
    const need = config.memoryMiB + DOMAIN_OVERHEAD_MIB;
    if (need > free) throw new XendError('no-memory', name, String(need), String(free));
    this.enter(domain);
    saveRecord(recordsDir(this.#ports.paths), domain.record);
  }

  /** Give a domain another name, if nobody has it, and write its record. */
  rename(domain: Domain, name: string): void {
    if (name === domain.name) return;
    this.checkName(name);
    domain.record.loggedAs ??= domain.name;
    domain.record.config = { ...domain.config, name };
    saveRecord(recordsDir(this.#ports.paths), domain.record);
  }

  /** Throws when a domain has this name. */
  checkName(name: string): void {
    if (name === 'Domain-0') throw new XendError('name-clash', name, '0');
    const other = this.all().find((one) => one.name === name);
    if (other) throw new XendError('name-clash', name, String(other.domid));
  }

  /** Out of the books, if it is in them; false when another domain has its uuid, and with it the place of its record. */
  strike(domain: Domain): boolean {
    if (this.has(domain.uuid) && !this.holds(domain)) return false;
    this.#domains.delete(domain.uuid);
    return true;
  }

  takeDomid(): number {
    const used = new Set(this.all().map(({ domid }) => domid));
    let domid = this.#nextDomid.value;
    while (domid >= DOMID_LIMIT || domid < 1 || used.has(domid)) domid = domid >= DOMID_LIMIT ? 1 : domid + 1;
    this.#nextDomid.value = domid + 1;
    this.#nextDomid.save();
    return domid;
  }
}
