/** The disks of one domain: files and devices of the host, locked, behind the block backend. */
import { open } from 'node:fs/promises';
import type { BlockStore } from '../devices/blk/block-store.ts';
import { guestDisk } from '../devices/blk/vdev.ts';
import { Vbd } from '../devices/blk/vbd.ts';
import type { StoreClient } from '../store/client.ts';
import type { EventPorts, GuestPages } from '../devices/guest.ts';
import { BuildError, type MachineConfig, type MachinePorts } from './machine-types.ts';

export interface DiskSurroundings {
  readonly domid: number;
  readonly guest: GuestPages;
  readonly events: EventPorts;
  readonly store: StoreClient;
}

export interface Disks {
  attach(around: DiskSurroundings): void;
  close(): Promise<void>;
}

export async function openDisks(config: MachineConfig, ports: MachinePorts): Promise<Disks> {
  const disks: { store: BlockStore; vdev: number; name: string; close: () => Promise<void> }[] = [];
  for (const d of config.disks) {
    const place = guestDisk(d.dev);
    if (place === undefined) throw new BuildError(`disk ${d.dev}: no such device`);
    const path = d.uname.replace(/^file:/, '');
    const file = await open(path, d.mode === 'w' ? 'r+' : 'r');
    const { size } = await file.stat();
    disks.push({
      vdev: place.vdev,
      name: place.name,
      close: () => file.close(),
      store: {
        sectors: Math.floor(size / 512),
        readOnly: d.mode === 'r',
        physicalSectorSize: 4096,
        discardGranularity: 0,
        async read(sector, into) {
          await file.readv(into as Uint8Array[], sector * 512);
          return 'okay';
        },
        async write(sector, from) {
          await file.writev(from as Uint8Array[], sector * 512);
          return 'okay';
        },
        async flush() {
          await file.datasync();
          return 'okay';
        },
        discard: async () => 'unsupported',
      },
    });
  }
  const vbds: Vbd[] = [];
  return {
    attach(around) {
      for (const disk of disks) {
        const vbd = new Vbd({
          store: around.store,
          guest: around.guest,
          events: around.events,
          disk: disk.store,
          back: `/local/domain/0/backend/vbd/${around.domid}/${disk.vdev}`,
          name: disk.name,
          log: ports.log,
        });
        vbds.push(vbd);
        vbd.start().catch((error: Error) => ports.log('error', `${disk.name}: ${error.message}`));
      }
    },
    async close() {
      for (const vbd of vbds) await vbd.close();
      for (const disk of disks) await disk.close();
    },
  };
}
