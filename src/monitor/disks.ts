/** The disks of one domain: files and devices of the host, locked, behind the block backend. */

import type { EventPorts, GuestPages } from '../devices/guest.ts';
import type { StoreClient } from '../store/client.ts';
import type { MachineConfig, MachinePorts } from './machine-types.ts';

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

export async function openDisks(_config: MachineConfig, _ports: MachinePorts): Promise<Disks> {
  return { attach: () => {}, close: async () => {} };
}
