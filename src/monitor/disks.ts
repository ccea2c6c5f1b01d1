/** The disks of one domain: files and devices of the host, opened and locked before the domain is built, served after. */

import { countIo, type IoCounts } from '../devices/blk/count-io.ts';
import { Vbd } from '../devices/blk/vbd.ts';
import { type GuestDisk, guestDisk } from '../devices/blk/vdev.ts';
import type { EventPorts, GuestPages } from '../devices/guest.ts';
import type { XenbusStore } from '../devices/xenbus.ts';
import { DiskError } from '../host/disk-error.ts';
import type { DiskOwner } from '../host/disk-lock.ts';
import { FileBlockStore } from '../host/file-block-store.ts';
import {
  BuildError,
  type DiskConfig,
  type DiskIoInfo,
  type MachineConfig,
  type MachinePorts,
} from './machine-types.ts';

export interface DiskSurroundings {
  readonly guest: GuestPages;
  readonly events: EventPorts;
  readonly store: XenbusStore;
  /** The guest has connected a disk. */
  connected?(): void;
}

interface OpenDisk {
  readonly place: GuestDisk;
  readonly file: FileBlockStore;
  readonly io: IoCounts;
  vbd?: Vbd;
}

export class Disks {
  #owner: DiskOwner;
  readonly #ports: MachinePorts;
  readonly #disks = new Map<number, OpenDisk>();
  #surroundings: DiskSurroundings | undefined;

  private constructor({ domid, name }: MachineConfig, ports: MachinePorts) {
    this.#owner = { domid, name };
    this.#ports = ports;
  }

  /** All of them or none; a BuildError says which one cannot be had and why. */
  static async open(config: MachineConfig, ports: MachinePorts): Promise<Disks> {
    const disks = new Disks(config, ports);
    try {
      for (const disk of config.disks) await disks.open(disk);
    } catch (error) {
      await disks.close();
      throw error;
    }
    return disks;
  }

  /** Open and lock one more. */
  async open({ uname, dev, mode, shared = false }: DiskConfig): Promise<void> {
    const place = guestDisk(dev);
    if (place === undefined) throw new BuildError(`vbd: Device not found: ${dev}`);
    if (this.#disks.has(place.vdev)) throw new BuildError(`vbd: the domain has a disk ${place.name} already`);
    const log = (text: string): void => this.#ports.log('error', `${place.name}: ${text}`);
    try {
      const file = await FileBlockStore.open({ uname, mode, shared, owner: this.#owner, log });
      this.#disks.set(place.vdev, { place, file, io: { reads: 0, writes: 0, readBytes: 0, writtenBytes: 0 } });
    } catch (error) {
      throw error instanceof DiskError ? new BuildError(error.message) : error;
    }
  }

  /** Offer all to the guest, and from now on those that `offer` names. */
  attach(surroundings: DiskSurroundings): void {
    this.#surroundings = surroundings;
    for (const [vdev, { place }] of this.#disks) {
      this.offer(vdev).catch((error: Error) => this.#ports.log('error', `${place.name}: ${error.message}`));
    }
  }

  /** Resolves when the guest can see it. */
  async offer(vdev: number): Promise<void> {
    const disk = this.#disks.get(vdev);
    if (!disk || !this.#surroundings) throw new Error(`disk ${vdev} is not open`);
    if (disk.vbd) return;
    disk.vbd = new Vbd({
      ...this.#surroundings,
      disk: countIo(disk.file, disk.io),
      back: `/local/domain/0/backend/vbd/${this.#owner.domid}/${vdev}`,
      name: disk.place.name,
      log: (level, text) => this.#ports.log(level, text),
    });
    await disk.vbd.start();
  }

  /** Device numbers of the open ones. */
  numbers(): number[] {
    return [...this.#disks.keys()];
  }

  /** The domain has another name: the locks say so from now on. */
  async rename(name: string): Promise<void> {
    this.#owner = { ...this.#owner, name };
    for (const { file } of this.#disks.values()) await file.rename(this.#owner);
  }

  /** What the open ones have done. */
  io(): DiskIoInfo[] {
    return [...this.#disks.values()].map(({ place, io }) => ({ dev: place.name, ...io }));
  }

  /** Finish what is under way, write back, give up the lock. */
  async closeOne(vdev: number): Promise<void> {
    const disk = this.#disks.get(vdev);
    this.#disks.delete(vdev);
    await disk?.vbd?.close();
    await disk?.file.close();
  }

  async close(): Promise<void> {
    for (const vdev of this.numbers()) await this.closeOne(vdev);
  }
}
