/**
 * Folders under run/domains that no record speaks of. Mostly a machine stopped and left sockets without processes: they go.
 * But where a monitor lives its domain does, whatever became of the record (xm-xend 5.1): it gets a new one, of what its
 * monitor was given. What only the record knew, such as its on_... variables, is as for a domain that says nothing of it.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { DomainConfig } from '../config/domain-config.ts';
import { domainRunDir, type Paths, recordsDir } from '../host/paths.ts';
import { isAlive, readPidFile } from '../host/process-identity.ts';
import type { MachineConfig } from '../monitor/machine-types.ts';
import type { MonitorConfig } from '../monitor/main.ts';
import { type DomainRecord, saveRecord } from './record.ts';

/** The configuration that makes this machine. Its kernel line is complete: nothing is put in front of it. */
function configOf({ name, uuid, kernel, ramdisk, memoryMiB, maxmemMiB, vcpus, cmdline, disks }: MachineConfig) {
  const config: DomainConfig = {
    name,
    uuid,
    kernel,
    ...(ramdisk === undefined ? {} : { ramdisk }),
    memoryMiB,
    maxmemMiB,
    vcpus,
    bootOptions: '',
    args: cmdline,
    disks: disks.map((disk) => ({ ...disk })),
    vifs: [],
    onPoweroff: 'destroy',
    onReboot: 'restart',
    onCrash: 'destroy',
  };
  return config;
}

function recordOf(folder: string, now: number): DomainRecord | undefined {
  const who = readPidFile(path.join(folder, 'monitor.pid'));
  if (!who || !isAlive(who)) return undefined;
  try {
    const { machine } = JSON.parse(readFileSync(path.join(folder, 'config.json'), 'utf8')) as MonitorConfig;
    const { domid, uuid } = machine;
    return { version: 1, uuid, domid, config: configOf(machine), phase: 'alive', createdAtMs: now, restartsMs: [] };
  } catch {
    return undefined;
  }
}

/** Remove what is dead, and return records, written, for what lives. A name that is taken by now becomes Domain-N. */
export function findStrays(paths: Paths, known: readonly DomainRecord[], now: number): DomainRecord[] {
  const base = path.join(paths.run, 'domains');
  const folders = new Set(known.map(({ domid, uuid }) => domainRunDir(paths, domid, uuid)));
  const names = new Set(known.map(({ config }) => config.name));
  const found: DomainRecord[] = [];
  for (const entry of readdirSync(base)) {
    const folder = path.join(base, entry);
    if (folders.has(folder)) continue;
    const record = recordOf(folder, now);
    if (!record || domainRunDir(paths, record.domid, record.uuid) !== folder) {
      rmSync(folder, { recursive: true, force: true });
      continue;
    }
    if (names.has(record.config.name)) record.config = { ...record.config, name: `Domain-${record.domid}` };
    names.add(record.config.name);
    saveRecord(recordsDir(paths), record);
    found.push(record);
  }
  return found;
}
