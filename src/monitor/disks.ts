/** The disks of one domain: files and devices of the host, opened and locked before the domain is built, served after. */

import { Vbd } from '../devices/blk/vbd.ts';
import { type GuestDisk, guestDisk } from '../devices/blk/vdev.ts';
import type { EventPorts, GuestPages } from '../devices/guest.ts';
import type { XenbusStore } from '../devices/xenbus.ts';
import { DiskError } from '../host/disk-error.ts';
import { FileBlockStore } from '../host/file-block-store.ts';
import { BuildError, type DiskConfig, type MachineConfig, type MachinePorts } from './machine-types.ts';

export interface DiskSurroundings {
  readonly guest: GuestPages;
  readonly events: EventPorts;
  readonly store: XenbusStore;
}

interface OpenDisk {
  readonly place: GuestDisk;
  readonly file: FileBlockStore;
  vbd?: Vbd;
}

export class Disks {
  readonly #domid: number;
  readonly #ports: MachinePorts;
  readonly #disks: OpenDisk[] = [];

  private constructor(domid: number, ports: MachinePorts) {
    this.#domid = domid;
    this.#ports = ports;
  }

  /** All of them or none; a BuildError says which one cannot be had and why. */
  static async open(config: MachineConfig, ports: MachinePorts): Promise<Disks> {
    const disks = new Disks(config.domid, ports);
    try {
      for (const disk of config.disks) await disks.#open(disk, config);
    } catch (error) {
      await disks.close();
      throw error instanceof DiskError ? new BuildError(error.message) : error;
    }
    return disks;
  }

  async #open({ uname, dev, mode, shared = false }: DiskConfig, config: MachineConfig): Promise<void> {
    const place = guestDisk(dev);
    if (place === undefined) throw new BuildError(`vbd: Device not found: ${dev}`);
    const owner = { domid: config.domid, name: config.name };
    const log = (text: string): void => this.#ports.log('error', `${place.name}: ${text}`);
    this.#disks.push({ place, file: await FileBlockStore.open({ uname, mode, shared, owner, log }) });
  }

  /** Offer them to the guest. */
  attach({ guest, events, store }: DiskSurroundings): void {
    for (const disk of this.#disks) {
      const { name, vdev } = disk.place;
      disk.vbd = new Vbd({
        store,
        guest,
        events,
        disk: disk.file,
        back: `/local/domain/0/backend/vbd/${this.#domid}/${vdev}`,
        name,
        log: (level, text) => this.#ports.log(level, text),
      });
      disk.vbd.start().catch((error: Error) => this.#ports.log('error', `${name}: ${error.message}`));
    }
  }

  /** Finish what is under way, write back, give up the locks. */
  async close(): Promise<void> {
    for (const { vbd, file } of this.#disks.splice(0)) {
      await vbd?.close();
      await file.close();
    }
  }
}
