/**
 * Disks of a domain that exists: attaching and detaching as steps with undo, and what can be said about them. The guest's
 * half of the handshake is in the store, ours in the monitor (devices/xenbus.ts). The record says what is being changed, so
 * that a xend that is killed meanwhile leaves a disk that is there or one that is not.
 */
import type { Disk } from '../config/domain-config.ts';
import { type DiskNode, diskRoots, diskTree } from '../devices/blk/nodes.ts';
import { guestDisk } from '../devices/blk/vdev.ts';
import { XenbusState } from '../devices/xenbus.ts';
import { recordsDir } from '../host/paths.ts';
import type { Books } from './books.ts';
import { type CreateContext, checkDisk, monitorCall } from './create.ts';
import { diskNodes } from './disk-nodes.ts';
import type { Domain } from './domain.ts';
import { XendError } from './errors.ts';
import { type Course, type Operation, operation, perform, step, undo } from './operation.ts';
import { logLine, tell, type XendPorts } from './ports.ts';
import { saveRecord } from './record.ts';
import type { DiskView } from './view.ts';

interface DiskContext extends Pick<CreateContext, 'domain' | 'paths' | 'store'> {
  readonly disk: Disk;
  readonly node: DiskNode;
  /** Do not wait for the guest to let go. */
  readonly force: boolean;
  readonly patienceMs: number;
}

/** A guest that would let go is given the moment that it takes, also when it is not to be asked. */
const FORCED_PATIENCE_MS = 1000;

const save = ({ domain, paths }: DiskContext): void => saveRecord(recordsDir(paths), domain.record);
const unsettled = (what: 'attach' | 'detach') =>
  step<DiskContext>(
    'note what begins',
    (c) => {
      c.domain.record.changing = { what, disk: c.disk };
      save(c);
    },
    (c) => {
      delete c.domain.record.changing;
      save(c);
    },
  );
const removeNodes = ({ domain, node, store }: DiskContext) => store.remove(diskRoots(domain.domid, node.vdev));
const closeDisk = (c: DiskContext) => monitorCall(c, 'closeDisk', { vdev: c.node.vdev });

const openDisk = (c: DiskContext) =>
  monitorCall(c, 'openDisk', { disk: c.disk }, (_name, why) => new XendError('disk-refused', why));

/** Opened before the guest hears of it, so that it never sees a disk that cannot be had. */
export const ATTACH: Operation<DiskContext> = operation('attach a disk', [
  unsettled('attach'),
  step('open it', openDisk, closeDisk),
  step('write its nodes', ({ domain, node, store }) => store.write(diskTree(domain.domid, node)), removeNodes),
  step('offer it', (c) => monitorCall(c, 'offerDisk', { vdev: c.node.vdev })),
  step('note that it is there', (c) => {
    const { record } = c.domain;
    record.config = { ...record.config, disks: [...record.config.disks, c.disk] };
    delete record.changing;
    save(c);
  }),
]);

/** From the moment that the guest has let go, or is not asked, there is no way back: what follows cannot fail but for us. */
export const DETACH: Operation<DiskContext> = operation('detach a disk', [
  unsettled('detach'),
  step('have the guest let go', letGo, (c) => setOnline(c, '1')),
  step('close it', closeDisk),
  step('remove its nodes', removeNodes),
  step('note that it is gone', (c) => {
    const { record } = c.domain;
    const rest = record.config.disks.filter(({ dev }) => guestDisk(dev)?.vdev !== c.node.vdev);
    record.config = { ...record.config, disks: rest };
    delete record.changing;
    save(c);
  }),
]);

const backend = (domid: number, vdev: number): string => diskRoots(domid, vdev)[0];
/** Whether the guest is to have it. A device that is not there (any more) stays away. */
async function setOnline({ domain, node, store }: DiskContext, value: '0' | '1'): Promise<void> {
  const folder = backend(domain.domid, node.vdev);
  if ((await store.read(`${folder}/state`)) === undefined) return;
  await store.write([{ path: `${folder}/online`, value, perms: `n0,r${domain.domid}` }]);
}

/** The backend's state when the guest has let go. */
const isApart = (state: string | undefined): boolean => state === undefined || Number(state) === XenbusState.closed;

async function letGo(c: DiskContext, signal: AbortSignal): Promise<void> {
  const { domain, node, store, force } = c;
  await setOnline(c, '0');
  const state = `${backend(domain.domid, node.vdev)}/state`;
  const patienceMs = force ? Math.min(c.patienceMs, FORCED_PATIENCE_MS) : c.patienceMs;
  if (isApart(await store.waitFor(state, isApart, patienceMs, signal)) || force) return;
  const why = domain.status?.state === 'paused' ? 'the domain is paused' : 'the guest does not let go of it';
  throw new XendError('disk-held', node.name, why);
}

export class Disks {
  readonly #ports: XendPorts;
  readonly #books: Books;

  constructor(ports: XendPorts, books: Books) {
    this.#ports = ports;
    this.#books = books;
  }

  async list(name: string): Promise<DiskView[]> {
    const { store } = this.#ports;
    const domain = this.#books.guest(name, 'list disks of');
    return Promise.all(
      diskNodes(domain.config.disks).map(async ({ vdev, name: guestName, mode, uname }, idx) => {
        const [back, front] = diskRoots(domain.domid, vdev);
        const [state, ringRef, port] = await Promise.all(
          [`${back}/state`, `${front}/ring-ref`, `${front}/event-channel`].map((node) => store.read(node)),
        );
        const number = (text: string | undefined) => (/^\d{1,10}$/.test(text ?? '') ? Number(text) : undefined);
        return {
          idx,
          vdev,
          dev: domain.config.disks[idx]!.dev,
          name: guestName,
          mode,
          uname,
          state: number(state) ?? XenbusState.unknown,
          ringRef: number(ringRef),
          eventChannel: number(port),
          backend: back,
        };
      }),
    );
  }

  async attach(name: string, disk: Disk): Promise<DiskView> {
    const domain = this.#books.guest(name, 'attach a disk to');
    return domain.enqueue(ATTACH.name, async (course) => {
      needGuest(domain);
      checkDisk(disk);
      const node = diskNodes([...domain.config.disks, disk]).at(-1)!;
      await perform(ATTACH, this.#context(domain, disk, node, false), course);
      this.#ports.events.emit('device.attached', domain, { kind: 'vbd', dev: node.name });
      tell(this.#ports, `d${domain.domid} "${domain.name}": disk ${node.name} attached: ${disk.uname}`);
      return (await this.list(domain.uuid)).at(-1)!;
    });
  }

  /** `dev` is any name of the disk: sda1, xvda1, its number in the guest, or its place in the list. */
  async detach(name: string, dev: string, force: boolean): Promise<void> {
    const domain = this.#books.guest(name, 'detach a disk from');
    await domain.enqueue(DETACH.name, async (course) => {
      needGuest(domain);
      const nodes = diskNodes(domain.config.disks);
      const at = diskIndex(nodes, dev);
      const [node, disk] = [nodes[at], domain.config.disks[at]];
      if (!node || !disk) throw new XendError('no-such-disk', domain.name, dev);
      if (!force && node.vdev === rootDisk(domain))
        throw new XendError('disk-held', node.name, 'the root file system is on it');
      await perform(DETACH, this.#context(domain, disk, node, force), course);
      this.#ports.events.emit('device.detached', domain, { kind: 'vbd', dev: node.name });
      tell(this.#ports, `d${domain.domid} "${domain.name}": disk ${node.name} detached: ${disk.uname}`);
    });
  }

  /** After the start of xend: end what another one had begun. Somebody's command failed with it, so a disk is as before. */
  async settle(domain: Domain, course: Course): Promise<void> {
    const { changing } = domain.record;
    if (!changing) return;
    const { what, disk } = changing;
    const line = `domain ${domain.domid} "${domain.name}": xend ended while it was to ${what} ${disk.dev}`;
    const node = diskNodes([disk])[0]!;
    const context = this.#context(domain, disk, node, true);
    const open = domain.status?.info?.disks?.includes(node.vdev) ?? false;
    const state = await this.#ports.store.read(`${backend(domain.domid, node.vdev)}/state`);
    if (what === 'detach' && (!open || isApart(state))) {
      this.#warn(`${line}: the guest has let go of it, so it is detached`);
      return perform(DETACH, context, course);
    }
    this.#warn(`${line}: it is as it was before`);
    await undo(what === 'attach' ? ATTACH : DETACH, context, course);
  }

  #warn(text: string): void {
    logLine(this.#ports, 'WARNING', text);
  }

  #context(domain: Domain, disk: Disk, node: DiskNode, force: boolean): DiskContext {
    const { paths, store, patience } = this.#ports;
    return { domain, paths, store, disk, node, force, patienceMs: patience.diskMs };
  }
}

function needGuest(domain: Domain): void {
  const state = domain.status?.state;
  if (state !== 'running' && state !== 'paused')
    throw new XendError('wrong-state', domain.name, `it is ${state ?? 'building'}`);
}

function diskIndex(nodes: readonly DiskNode[], dev: string): number {
  // 2.0 names a disk by its place in the list, later tools by the number in the guest, in decimal.
  if (/^\d+$/.test(dev)) {
    const byNumber = nodes.findIndex(({ vdev }) => vdev === Number(dev));
    if (byNumber >= 0) return byNumber;
    if (Number(dev) < nodes.length) return Number(dev);
  }
  const place = guestDisk(dev);
  return place ? nodes.findIndex(({ vdev }) => vdev === place.vdev) : -1;
}

/** The disk that root= names, if it names one. */
function rootDisk({ config }: Domain): number | undefined {
  const name = /^(?:root=)?(?:\/dev\/)?(\w+)/.exec(config.root ?? '')?.[1];
  return name === undefined ? undefined : guestDisk(name)?.vdev;
}
