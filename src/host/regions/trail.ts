/**
 * Which regions are better one: control is followed for a while now and then as it goes from region to region (TRAIL), and what mostly comes
 * from one region belongs to it. Regions grow around what was hot first and end where another begins, so without this what a system
 * call costs would depend on what had been done before it was made.
 */
import type { GuestMemory } from '../../hypervisor/memory.ts';
import { LINK_ENTRY_SHIFT, STEP, TRAIL, TRAIL_LEFT, TRAIL_STEP_BYTES, TRAIL_STEPS } from '../../translate/layout.ts';

/** Where control came to a region. */
export interface Arrival {
  /** As in layout.ts, LINK_ENTRY_SHIFT. */
  readonly link: number;
  readonly va: bigint;
  readonly times: number;
}

/** What is to be one region. */
export interface Path {
  /** Where it begins. */
  readonly head: Arrival;
  /** The slots of the regions that it goes through. */
  readonly slots: ReadonlySet<number>;
  /** Addresses where it comes to them. */
  readonly targets: readonly bigint[];
}

export interface TrailOptions {
  /** Slices, each some 40,000 branches or a millisecond, from one trail to the next; twice as many each time that nothing came of one. */
  readonly least: number;
  readonly most: number;
  /** Its length: TRAIL_STEPS at most. */
  readonly steps: number;
}
const USUALLY: TrailOptions = { least: 8, most: 256, steps: TRAIL_STEPS };
/** What follows a head is come to at least once in so many of its own times. */
const PATH_SHARE = 32;
/**
 * This part of the steps would be spared at least: to make a region of several, and V8's code for it, takes longer than to go through them for a second or
 * two. A kernel's is there for all programs; a program goes on to something else.
 */
const SPARED = { kernel: 1 / 16, program: 2 / 5 } as const;
/** A trail that takes more slices is of code that seldom leaves its regions. */
const SLICES_OF_TRAIL = 4;
/** Regions that a path goes through, hardly ever more. */
const MEMBERS = 16;
/** So often at most is a region joined that begins in the same place, and each time after so many more slices. */
const TIMES_JOINED = 4;
const LATER = 4;

/** The slot of the region that `link` leads to. */
export const linkSlot = (link: number): number => link & ((1 << LINK_ENTRY_SHIFT) - 1);

interface Node extends Arrival {
  times: number;
  /** From which nodes, and to which, how often. */
  readonly from: Map<Node, number>;
  readonly to: Map<Node, number>;
}

export class Trail {
  private readonly memory: GuestMemory;
  private readonly cpu: number;
  private readonly options: TrailOptions;
  private wait: number;
  private slices = 0;
  private follows = false;
  /** What control came to, once the trail has been read. */
  private read: readonly Node[] | undefined;
  /** Slices that have ended so far. */
  private ended = 0;
  /** Address of a head → how often it was one, and when it may be next. */
  private readonly joined = new Map<bigint, { readonly times: number; readonly next: number }>();

  /** `cpu`: the vCPU's state block. */
  constructor(memory: GuestMemory, cpu: number, options: TrailOptions = USUALLY) {
    this.memory = memory;
    this.cpu = cpu;
    this.options = options;
    this.wait = options.least;
  }

  /** A slice has ended: is control to be followed from now on? All jumps must be forgotten then. */
  sliceEnded(): boolean {
    this.ended++;
    if (++this.slices < this.wait || this.follows) return false;
    this.slices = 0;
    this.follows = true;
    this.memory.view.setUint32(this.cpu + TRAIL_LEFT, this.options.steps, true);
    return true;
  }

  /** There is as much as was wanted. */
  get isTaken(): boolean {
    return this.follows && this.memory.view.getUint32(this.cpu + TRAIL_LEFT, true) === 0;
  }

  /** What came of it, once there is as much as was wanted: to read it is enough for the end of one slice, to look for a path for another. */
  take(): Path | undefined {
    if (!this.isTaken) return undefined;
    const isOfPaths = this.slices <= SLICES_OF_TRAIL;
    if (isOfPaths && this.read === undefined) {
      this.read = this.nodes();
      // It has not become longer since.
      this.slices--;
      return undefined;
    }
    const path = isOfPaths ? this.path(this.read!) : undefined;
    this.follows = false;
    this.read = undefined;
    if (path === undefined) this.waitLonger();
    else this.wait = Math.max(this.wait / 2, this.options.least);
    return path;
  }

  /** No region has come of it: it may begin in a place from where most is reached by RET only. */
  cameToNothing({ head: { va } }: Path): void {
    const joined = this.joined.get(va)!;
    this.joined.set(va, { ...joined, times: joined.times + 1 });
    this.waitLonger();
  }

  private waitLonger(): void {
    this.wait = Math.min(2 * this.wait, this.options.most);
  }

  private nodes(): Node[] {
    const { view } = this.memory;
    const nodes = new Map<number, Node>();
    let before: Node | undefined;
    for (let n = this.options.steps - 1; n >= 0; n--) {
      const at = this.cpu + TRAIL + n * TRAIL_STEP_BYTES;
      const link = view.getUint32(at + STEP.link, true);
      if (link === 0) {
        before = undefined;
        continue;
      }
      let node = nodes.get(link);
      if (node === undefined) {
        node = { link, va: view.getBigUint64(at + STEP.target, true), times: 0, from: new Map(), to: new Map() };
        nodes.set(link, node);
      }
      node.times++;
      const isJump = view.getUint32(at + STEP.how, true) === STEP.byJump;
      if (isJump && before !== undefined) {
        const times = (node.from.get(before) ?? 0) + 1;
        node.from.set(before, times);
        before.to.set(node, times);
      }
      before = node;
    }
    return [...nodes.values()].sort((a, b) => b.times - a.times);
  }

  private wasJoined({ va }: Node): number {
    return this.joined.get(va)?.times ?? 0;
  }

  /** The one that would spare most steps. */
  private path(nodes: readonly Node[]): Path | undefined {
    const heads = new Set<Node>();
    let best: { readonly head: Node; readonly members: ReadonlySet<Node> } | undefined;
    const { steps } = this.options;
    let most = 0;
    const least = (SPARED.kernel * steps) / MEMBERS;
    for (const node of nodes) {
      if (node.times < least) break;
      const head = this.headOf(node);
      if (head === undefined || heads.has(head)) continue;
      heads.add(head);
      if (this.ended < (this.joined.get(head.va)?.next ?? 0)) continue;
      const members = membersOf(head);
      let spared = -head.times;
      for (const { times } of members) spared += times;
      const enough = BigInt.asIntN(64, head.va) < 0n ? SPARED.kernel : SPARED.program;
      if (spared <= Math.max(most, enough * steps)) continue;
      most = spared;
      best = { head, members };
    }
    if (best === undefined) return undefined;
    const { head, members } = best;
    const times = this.wasJoined(head) + 1;
    this.joined.set(head.va, { times, next: this.ended + this.options.least * LATER ** times });
    const list = nodes.filter((node) => members.has(node));
    return { head, slots: new Set(list.map(({ link }) => linkSlot(link))), targets: list.map(({ va }) => va) };
  }

  /** From `node` back to where most of what comes to it begins. */
  private headOf(node: Node): Node | undefined {
    const seen = new Set([node]);
    const mayBegin = (at: Node): boolean => this.wasJoined(at) < TIMES_JOINED;
    let head = mayBegin(node) ? node : undefined;
    for (let at = node; ; ) {
      const from = [...at.from].find(([before, times]) => 2 * times >= at.times && !seen.has(before));
      if (from === undefined) return head;
      at = from[0];
      seen.add(at);
      if (mayBegin(at)) head = at;
    }
  }
}

/** `head`, and what mostly comes from there, or from what does. */
function membersOf(head: Node): Set<Node> {
  const members = new Set([head]);
  const fromMembers = new Map<Node, number>();
  for (const member of members) {
    for (const [node, times] of member.to) {
      if (members.has(node) || PATH_SHARE * node.times < head.times) continue;
      const sum = (fromMembers.get(node) ?? 0) + times;
      fromMembers.set(node, sum);
      if (2 * sum >= node.times) members.add(node);
    }
  }
  return members;
}
