/**
 * Disks that are plugged in for the length of one copy into the guest or out of it (devices/blk/stream-disk.ts). They are
 * this process's own affair from the first node in the store to the last: xend, which may die meanwhile, knows nothing of
 * them, and what is left of them when this process dies goes with the domain's tree.
 */
import { type DiskNode, diskRoots, diskTree } from '../devices/blk/nodes.ts';
import type { StreamDisk } from '../devices/blk/stream-disk.ts';
import { Vbd } from '../devices/blk/vbd.ts';
import { guestDisk } from '../devices/blk/vdev.ts';
import type { EventPorts, GuestPages } from '../devices/guest.ts';
import type { LogLevel } from '../devices/xenbus.ts';
import type { StoreClient } from '../store/client.ts';
import { writeEntries } from '../store/entry.ts';

/** At most so many at a time, under names that nobody gives a disk of his own. */
const NAMES = ['xvdz', 'xvdy', 'xvdx', 'xvdw'];
/** A guest that has not connected by then has no driver for it, or no time. Nor is one waited for that does not let go. */
const PATIENCE_MS = 5_000;

export interface StreamDiskPorts {
  readonly domid: number;
  readonly guest: GuestPages;
  readonly events: EventPorts;
  readonly store: StoreClient;
  log(level: LogLevel, text: string): void;
  readonly patienceMs?: number;
}

export interface PluggedDisk {
  /** As the guest has it below /dev. */
  readonly name: string;
  /** What waits on it fails. Resolves when nothing is left of it. */
  unplug(): Promise<void>;
}

export class StreamDisks {
  readonly #ports: StreamDiskPorts;
  readonly #plugged = new Map<number, { readonly disk: StreamDisk; readonly vbd: Vbd }>();
  #closed = false;

  constructor(ports: StreamDiskPorts) {
    this.#ports = ports;
  }

  holds(vdev: number): boolean {
    return this.#plugged.has(vdev);
  }

  /**
   * Resolves when the guest has connected it; undefined when it does not, or when there is no place for one more. With a store
   * that is away it is the same: what was begun is taken away when the store is back, and nobody waits for that.
   */
  async plug(disk: StreamDisk): Promise<PluggedDisk | undefined> {
    const place = NAMES.map((name) => guestDisk(name)!).find(({ vdev }) => !this.#plugged.has(vdev));
    if (!place || this.#closed) return undefined;
    const { domid, store, guest, events, log, patienceMs = PATIENCE_MS } = this.#ports;
    const { vdev, name } = place;
    const back = diskRoots(domid, vdev)[0];
    const [connected, gone] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const vbd = new Vbd({
      ...{ store, guest, events, disk, back, name, log },
      connected: connected.resolve,
      gone: gone.resolve,
    });
    this.#plugged.set(vdev, { disk, vbd });
    const offered = this.#writeNodes({ vdev, name, mode: disk.readOnly ? 'r' : 'w', uname: 'file:' }).then(
      async (written) => {
        if (written) await vbd.start();
        return written;
      },
    );
    const takeAway = async () => {
      disk.fail();
      const isOurs = await offered.catch(() => true);
      if (this.#closed) return;
      if (isOurs) {
        await store.write(`${back}/online`, '0');
        if (!(await within(gone.promise, patienceMs))) log('warn', `${name}: the guest does not let go of it`);
        await vbd.close();
        await store.transaction(async (view) => {
          for (const root of diskRoots(domid, vdev)) await view.remove(root);
        });
      }
      this.#plugged.delete(vdev);
    };
    let takenAway: Promise<void> | undefined;
    const unplug = () => (takenAway ??= takeAway());
    const ready = offered.then((written) => (written ? connected.promise : Promise.reject(new Error('it is taken'))));
    if (await within(ready, patienceMs)) return { name, unplug };
    unplug().catch((error: Error) => this.#closed || log('warn', `${name}: ${error.message}`));
    return undefined;
  }

  /** False when the domain has a disk of this name. */
  async #writeNodes(node: DiskNode): Promise<boolean> {
    const { domid, store } = this.#ports;
    const [back, front] = diskRoots(domid, node.vdev);
    return store.transaction(async (view) => {
      for (const root of [back, front]) if ((await view.read(root)) !== undefined) return false;
      await writeEntries(view, diskTree(domid, node));
      return true;
    });
  }

  /** The domain ends. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { disk } of this.#plugged.values()) disk.fail();
    await Promise.all([...this.#plugged.values()].map(({ vbd }) => vbd.close()));
  }
}

/** False: it was not done by then, or it failed. */
function within(what: Promise<unknown>, ms: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(resolve, ms, false);
  what.then(
    () => resolve(true),
    () => resolve(false),
  );
  return promise.finally(() => clearTimeout(timer));
}
