/**
 * Translates a region to a WebAssembly function (page, link) → Status, called through the table like the handler of a single
 * instruction. `page` is the address of its first page, `link` says at which of its entries it begins (LINK_ENTRY_SHIFT). The state block's is
 * known when the function is made: an access to the state block is then one to a known address, of which V8 knows that it cannot trap.
 * That spares it a register, and reads that nobody needs.
 *
 * Ways out, all with the changed registers and the flags in the state block:
 *   stop    at an instruction that faulted, or that the interpreter is to run because its store drops code
 *   leave   with an exit for the hypervisor, or for the interpreter at `target`
 *   call    with SYSCALL: where that can be performed on the spot, straight into the region that it leads to; else like leave
 *   help    at an instruction that is to be performed in TypeScript, and then for the interpreter
 *   jump    to `target`: straight into another region when there is one, else like leave
 */
import { type E, F64, I32, I64, i32, i64, load32, load64 } from '../../wasm/expr.ts';
import { call, type Fn, type FnRef, type FunctionCode, type Label, ModuleBuilder } from '../../wasm/module.ts';
import { Kind } from '../../x86/decode.ts';
import { Exit } from '../../x86/exits.ts';
import { STATE } from '../../x86/state.ts';
import {
  COMPUTED_FROM,
  COMPUTED_TARGET,
  ENTRY_PAGE_SHIFT,
  KEPT_PAGES,
  KEPT_PAGES_MAX,
  REGION_PLACES,
  REGION_STOPPED,
  STACK_ADDEND,
  STACK_PAGE,
  Status,
} from '../layout.ts';
import { type FoundRegion, linkEntry, linkSlot } from '../runtime/region-links.ts';
import { SEMANTICS } from '../semantics/index.ts';
import { emitEntering } from './entering.ts';
import { DYNAMIC, type FlagState, leaveFlags, noteFlags, OUTSIDE, PAIR } from './flag-lift.ts';
import { countDown, jumpBy, lookUpTarget, spill } from './leaving.ts';
import { leaveTo, type RegionContext, RegionLift, type SharedPage } from './lift.ts';
import { type FlagLiveness, flagLiveness, Need } from './liveness.ts';
import { loadedInLoops } from './loops.ts';
import { GROUPS, type Group, Neighbourhood } from './neighbours.ts';
import { type Block, endsBlock, isComputed, isDispatch, NOWHERE, type RegionPlan } from './plan.ts';
import { type ProbedBlock, probed } from './probe.ts';
import { type Rounds, writeOutRounds } from './rounds.ts';
import { type Edge, type Graph, type Structure, structure } from './structure.ts';

/** A region to generate: what discover found, and where its pages are. */
export interface RegionSource {
  readonly plan: RegionPlan;
  /** For profilers. */
  readonly name: string;
}

/** What a region module imports from "e", beside memory "m" and table "t". */
export interface RegionImports {
  /** runtime/region-links.ts */
  regionLink(cpu: number, target: bigint): number;
  /** runtime/mmu.ts, with 1 for "the interpreter shall run this instruction". */
  regionMiss(cpu: number, va: bigint, access: number): number;
  regionAgain(cpu: number, va: bigint, access: number): number;
  regionStack(cpu: number, va: bigint, access: number): number;
  scatter(cpu: number, va: bigint, size: number): void;
  settleFlags(cpu: number): void;
  /** The domain's clock, ns. */
  now(): number;
  /** runtime/region-exits.ts */
  regionExit(cpu: number, exit: number): number;
  /** Perform the instruction at STATE.rip; a Status other than Next. */
  regionHelper(cpu: number): number;
}

/** Of a region's function: page and link. */
export const REGION_PARAMETERS = [I64, I32] as const;

/** A module for regions of the vCPU at `cpu`, without functions yet, with what they import and their type in the table. */
function regionModule(cpu: number): { readonly m: ModuleBuilder; readonly imports: ImportRefs; readonly type: number } {
  const m = new ModuleBuilder();
  // A domain's memory of any size, as functions are kept for other domains; V8 is to see that the state block is in it.
  m.importMemory(Math.ceil((cpu + REGION_PLACES) / 0x10000), 0x10000);
  m.importTable();
  const imports = {
    miss: m.importFunction('regionMiss', [I32, I64, I32], [I32]),
    missAgain: m.importFunction('regionAgain', [I32, I64, I32], [I32]),
    stackMiss: m.importFunction('regionStack', [I32, I64, I32], [I32]),
    scatter: m.importFunction('scatter', [I32, I64, I32], []),
    settle: m.importFunction('settleFlags', [I32], []),
    helper: m.importFunction('regionHelper', [I32], [I32]),
    exit: m.importFunction('regionExit', [I32, I32], [I32]),
    link: m.importFunction('regionLink', [I32, I64], [I32]),
    now: m.importFunction('now', [], [F64]),
  };
  return { m, imports, type: m.typeIndex([...REGION_PARAMETERS], [I32]) };
}

/**
 * A module with one function for each of `regions`, exported as "0", "1", … `made` is told the code of each, in order. It is for the
 * vCPU whose state block is at linear address `cpu`; it knows neither which domain that belongs to, nor at which address its pages are mapped.
 */
export function generateRegions(
  cpu: number,
  regions: readonly RegionSource[],
  made?: (code: FunctionCode) => void,
): Uint8Array<ArrayBuffer> {
  const { m, imports, type } = regionModule(cpu);
  regions.forEach((region, index) => {
    m.function(
      [...REGION_PARAMETERS],
      [I32],
      (f) => new RegionEmitter(f, cpu, region, imports, type).emit(),
      String(index),
      region.name,
    );
  });
  return m.finish(made);
}

/** A module with these functions, which generateRegions has made one by one for `cpu`, exported in the same way. */
export function joinRegions(
  cpu: number,
  functions: readonly { readonly code: FunctionCode; readonly name: string }[],
): Uint8Array<ArrayBuffer> {
  const { m } = regionModule(cpu);
  for (const [k, { code, name }] of functions.entries())
    m.finished([...REGION_PARAMETERS], [I32], code, String(k), name);
  return m.finish();
}

/** Instructions that may stand twice in a region so that loops have one entry each (structure.ts). */
const COPIED = 40;

/** In how many ways control goes on behind a block; one that always leaves the region counts as many. */
function waysOn(block: Block | undefined): number {
  if (block === undefined) return 0;
  const last = block.insns.at(-1)!;
  if (!endsBlock(last)) return 1;
  if (last.operands[0]?.kind !== Kind.Rel) return 3;
  return last.mnemonic === 'jmp' || last.mnemonic === 'call' ? 1 : 2;
}

interface ImportRefs {
  readonly miss: FnRef;
  readonly missAgain: FnRef;
  readonly stackMiss: FnRef;
  readonly scatter: FnRef;
  readonly settle: FnRef;
  readonly helper: FnRef;
  readonly exit: FnRef;
  readonly link: FnRef;
  readonly now: FnRef;
}

class RegionEmitter {
  private readonly f: Fn;
  private readonly shape: Structure;
  /** Node → its block; undefined for the entry and dispatch nodes. */
  private readonly blocks: (ProbedBlock | undefined)[] = [undefined];
  private readonly liveness: FlagLiveness;
  private readonly region: RegionContext;
  private readonly budget: E;
  /** Node → registers that are loaded from memory in its loop, or -1. */
  private readonly loaded: Int32Array;
  /** How many pages stay from round to round. */
  private kept = 0;
  /** By the offset of a block and the place of a group's first member in it: the page is the same in all copies of the block. */
  private readonly keptPages = new Map<string, number>();
  /** Node → the group of each instruction's memory operand. */
  private readonly groups: ReadonlyMap<number, readonly (Group | undefined)[]>;
  private readonly pages = new Map<Group, SharedPage | undefined>();
  /** Locals for the pages of groups; the same for those of other blocks. */
  private readonly localPages: { readonly page: E; readonly addend: E }[] = [];
  /** The node where RETs meet, -1 if there is none: it goes on behind a call of the region, or to the computed node. */
  private readonly returnNode: number;
  /** The node where computed targets meet, -1 if there is none: it goes on at an entry of the region, or leaves. */
  private readonly computedNode: number;
  /** Loops of one short block. */
  private readonly rounds: Rounds;
  /** The node that all entries are behind, with the number of the one meant. */
  private readonly entryNode: number;
  private readonly entry: E;
  /** 1 when a computed target is not that of a RET, or of another jump to one place only. */
  private readonly dispatching: E;
  /** The region's own slot in the table. */
  private readonly self: E;
  /** For `go`: where it leads. */
  private readonly found: FoundRegion;
  /** Node → the one that it is a copy of. */
  private readonly copies: ReadonlyMap<number, number>;
  /** Dispatch node → the local with the number of its target. */
  private readonly choice = new Map<number, E>();
  private readonly loopLabels = new Map<number, Label>();
  private readonly mergeLabels = new Map<number, Label>();
  private readonly type: number;
  private readonly labels: {
    stop?: Label;
    leave?: Label;
    jump?: Label;
    help?: Label;
    call?: Label;
    go?: Label;
  } = {};
  private readonly imports: ImportRefs;

  constructor(f: Fn, cpu: number, source: RegionSource, imports: ImportRefs, type: number) {
    const { plan } = source;
    this.f = f;
    this.type = type;
    this.imports = imports;
    const nodes = new Map<number, number>();
    const blocks = Array.from(plan.blocks.values(), probed);
    for (const block of blocks) nodes.set(block.start, this.blocks.push(block) - 1);
    const edge = (offset: number): Edge => ({ target: nodes.get(offset)!, via: nodes.get(offset)! });
    const to = (node: number): Edge => ({ target: node, via: node });
    const addNode = (condition: boolean): number => (condition ? this.blocks.push(undefined) - 1 : -1);
    this.entryNode = addNode(true);
    this.computedNode = addNode(blocks.some((block) => isComputed(block.insns.at(-1)!)));
    this.returnNode = addNode(plan.returns.length > 0);
    const edges: Edge[][] = [[to(this.entryNode)]];
    for (const { taken, next, insns } of blocks) {
      const list = [taken, next].filter((offset) => offset !== NOWHERE).map(edge);
      const last = insns.at(-1)!;
      if (this.returnNode >= 0 && last.mnemonic === 'ret') list.push(to(this.returnNode));
      else if (isComputed(last)) list.push(to(this.computedNode));
      edges.push(list);
    }
    edges.push(plan.entries.map(edge));
    // A RET alone leads to a caller that is elsewhere.
    const isInside = blocks.some(({ insns }) => isDispatch(insns.at(-1)!));
    if (this.computedNode >= 0) edges.push(isInside ? [to(this.entryNode)] : []);
    if (this.returnNode >= 0) {
      const list = plan.returns.map(edge);
      if (this.computedNode >= 0) list.push(to(this.computedNode));
      edges.push(list);
    }
    this.rounds = writeOutRounds(this.blocks, edges);
    const graph: Graph = {
      edges,
      dispatch: new Map(),
      copies: new Map(),
      room: plan.isBrief ? 0 : COPIED,
      cost: (node) => this.blocks[graph.copies.get(node) ?? node]?.insns.length ?? 1,
    };
    this.copies = graph.copies;
    this.shape = structure(graph);
    for (let node = this.blocks.length; node < graph.edges.length; node++) {
      const block = this.blocks[this.sourceOf(node)];
      this.blocks.push(block && { ...block });
    }
    for (const node of graph.dispatch.keys()) this.choice.set(node, f.local(I32));
    const leaves = graph.edges.map(
      (list, node) =>
        this.sourceOf(node) === this.computedNode ||
        list.length < waysOn(this.blocks[node]) ||
        list.some(({ via }) => this.shape.isBack(node, via)),
    );
    this.liveness = flagLiveness(
      this.blocks,
      graph.edges.map((list) => list.map(({ via }) => via)),
      leaves,
      this.shape.sequence,
    );
    this.loaded = loadedInLoops(this.shape, this.blocks);
    this.groups = this.groupsOf(plan.isBrief);
    this.budget = f.local(I32);
    this.entry = f.local(I32);
    this.self = f.local(I32);
    this.dispatching = f.local(I32);
    this.found = { link: f.local(I32), page: f.local(I64) };
    const labels = this.labels;
    this.region = {
      cpu: i32(cpu),
      page: f.param(0),
      tlb: plan.isBrief ? load32(i32(cpu), STATE.tlb) : f.local(I32),
      fsBase: f.local(I64),
      gsBase: f.local(I64),
      stackPage: plan.isBrief ? load64(i32(cpu), STACK_PAGE) : f.local(I64),
      stackAddend: plan.isBrief ? load32(i32(cpu), STACK_ADDEND) : f.local(I32),
      xmm: new Array<E | undefined>(16).fill(undefined),
      xmmWritten: 0,
      constants: new Map(),
      crossing: undefined,
      taskSwitched: undefined,
      rounding: undefined,
      limits: {},
      mustBeExact: undefined,
      notSwitched: false,
      normal: new Uint8Array(16),
      gpr: Array.from({ length: 16 }, () => f.local(I64)),
      isBrief: plan.isBrief,
      budget: this.budget,
      isExact: plan.isExact,
      cached: 0,
      looked: new Map(),
      used: 0,
      written: 0,
      usesFs: false,
      usesGs: false,
      usesStack: false,
      flags: this.stateAt(this.entryNode) === PAIR ? PAIR : OUTSIDE,
      order: undefined,
      flagLocals: {
        result: f.local(I64),
        aux: f.local(I32),
        code: f.local(I32),
        a: f.local(I64),
        b: f.local(I64),
        r: f.local(I64),
      },
      again: f.local(I32),
      position: f.local(I32),
      target: f.local(I64),
      status: f.local(I32),
      get stop() {
        return labels.stop!;
      },
      get leave() {
        return labels.leave!;
      },
      get jump() {
        return labels.jump!;
      },
      get help() {
        return labels.help!;
      },
      get call() {
        return labels.call!;
      },
      usesHelper: false,
      usesCall: false,
      miss: imports.miss,
      missAgain: imports.missAgain,
      findLink: imports.link,
      stackMiss: imports.stackMiss,
      scatter: imports.scatter,
      now: imports.now,
    };
  }

  /** The node that `node` is a copy of, or itself. */
  private sourceOf(node: number): number {
    return this.copies.get(node) ?? node;
  }

  emit(): void {
    const { f, labels } = this;
    f.block((go) => {
      labels.go = go;
      this.emitBody();
      f.scope(() => lookUpTarget(f, this.region, this.found));
    });
    spill(f, this.region);
    jumpBy(f, this.region, this.budget, this.found, this.type);
    f.unreachable();
    const self = this.computedNode >= 0 ? this.self : undefined;
    const { budget, entry, kept } = this;
    const settle = this.stateAt(this.entryNode) === PAIR ? this.imports.settle : undefined;
    f.prepend(() => emitEntering(f, this.region, { kept, budget, entry, self, settle }));
  }

  /** The region's code, and the ways out but for `jump`, which is behind. */
  private emitBody(): void {
    const { f, region, labels } = this;
    f.block((jump) => {
      labels.jump = jump;
      f.block((leave) => {
        labels.leave = leave;
        f.block((stop) => {
          labels.stop = stop;
          f.block((help) => {
            labels.help = help;
            f.block((call) => {
              labels.call = call;
              this.emitTree(0);
            });
            if (region.usesCall) this.emitCall();
          });
          if (region.usesHelper) {
            leaveFlags(f, region.cpu, DYNAMIC, region.flagLocals);
            spill(f, region);
            if (!region.isBrief) f.store32(region.cpu, this.budget, STATE.budget);
            f.store64(region.cpu, region.page.add(region.position.extendS()), STATE.rip);
            f.ret(call(this.imports.helper, region.cpu));
          }
        });
        f.set(region.target, region.page.add(region.position.extendS()));
        f.set(region.status, i32(Status.Exit + Exit.Exception));
        f.if(region.again, () => {
          f.set(region.status, i32(Status.Jump));
          f.store64(region.cpu, region.target, REGION_STOPPED);
        });
      });
      leaveFlags(f, region.cpu, DYNAMIC, region.flagLocals);
      spill(f, region);
      f.store64(region.cpu, region.target, STATE.rip);
      if (!region.isBrief) f.store32(region.cpu, this.budget, STATE.budget);
      f.ret(region.status);
    });
  }

  /** SYSCALL, with `target` behind it. */
  private emitCall(): void {
    const { f, region } = this;
    leaveFlags(f, region.cpu, DYNAMIC, region.flagLocals);
    spill(f, region);
    f.store64(region.cpu, region.target, STATE.rip);
    if (!region.isBrief) f.store32(region.cpu, this.budget, STATE.budget);
    f.returnCall(this.imports.exit, region.cpu, i32(Exit.Syscall));
  }

  /** Node `node` and all that it dominates. */
  private emitTree(node: number): void {
    const { f, shape } = this;
    const merges = shape.merges[node]!;
    const within = (k: number): void => {
      if (k === merges.length) {
        this.emitNode(node);
        return;
      }
      const merge = merges[k]!;
      f.block((label) => {
        this.mergeLabels.set(merge, label);
        within(k + 1);
      });
      this.mergeLabels.delete(merge);
      this.region.flags = this.stateAt(merge);
      this.emitTree(merge);
    };
    if (shape.isLoop[node]) {
      f.loop((label) => {
        this.loopLabels.set(node, label);
        within(0);
      });
      this.loopLabels.delete(node);
    } else within(0);
  }

  private emitNode(node: number): void {
    const block = this.blocks[node];
    if (block !== undefined) this.emitBlock(node, block);
    else if (this.sourceOf(node) === this.returnNode) this.emitReturns(node);
    else if (this.sourceOf(node) === this.computedNode) this.emitComputed(node);
    else this.emitSwitch(node, this.choice.get(node) ?? this.entry);
  }

  /** Is `target` an entry of this region, mapped where the region is now? Then everything stays where it is. */
  private emitComputed(node: number): void {
    const { f, region, found } = this;
    const state = region.flags;
    const inside = this.shape.graph.edges[node]![0];
    f.scope(() => {
      lookUpTarget(f, region, found);
      if (inside === undefined) return;
      f.if(linkSlot(found.link).eq(this.self).and(found.page.eq(region.page)), () => {
        f.set(this.entry, linkEntry(found.link).and((1 << ENTRY_PAGE_SHIFT) - 1));
        this.emitEdge(node, inside);
      });
      region.flags = state;
    });
    if (inside !== undefined) {
      f.if(found.link.eqz().and(this.dispatching), () => {
        f.cold();
        f.store64(region.cpu, region.target, COMPUTED_TARGET);
        f.store32(region.cpu, this.self, COMPUTED_FROM);
      });
    }
    leaveFlags(f, region.cpu, state, region.flagLocals);
    f.br(this.labels.go!);
  }

  /** Is `target` behind a call of the region, and which? If not, it is as any computed target. */
  private emitReturns(node: number): void {
    const { f, region } = this;
    const state = region.flags;
    const edges = this.shape.graph.edges[node]!.slice(0, -1).map((edge) => ({
      edge,
      at: this.blocks[edge.target]!.start,
    }));
    edges.sort((a, b) => a.at - b.at);
    const distance = f.let(region.target.sub(region.page.add(i64(edges[0]!.at))));
    const span = edges.at(-1)!.at - edges[0]!.at;
    /** By halves. */
    const search = (from: number, to: number): void => {
      if (from + 1 === to) {
        const { edge, at } = edges[from]!;
        f.if(distance.eq(i64(at - edges[0]!.at)), () => this.emitEdge(node, edge));
        region.flags = state;
        return;
      }
      const middle = (from + to) >> 1;
      f.if(
        distance.ltU(i64(edges[middle]!.at - edges[0]!.at)),
        () => search(from, middle),
        () => search(middle, to),
      );
    };
    f.if(distance.leU(i64(span)), () => search(0, edges.length));
    const computed = this.shape.graph.edges[node]!.at(-1)!;
    this.emitEdge(node, computed);
  }

  private emitSwitch(node: number, number: E): void {
    const { f } = this;
    const edges = this.shape.graph.edges[node]!;
    if (edges.length === 1) {
      this.emitEdge(node, edges[0]!);
      return;
    }
    const state = this.region.flags;
    const labels = f.openBlocks(edges.length);
    f.brTable(number, labels, labels[edges.length - 1]!);
    for (const edge of edges) {
      f.closeBlock();
      this.region.flags = state;
      this.emitEdge(node, edge);
    }
  }

  private emitBlock(node: number, block: ProbedBlock): void {
    const { f, region } = this;
    const needs = this.liveness.behind.get(block)!;
    let offset = block.start;
    // What comes from one block alone knows what that knew; each later round of a loop at least what the first one did, if that knew nothing.
    const { first, later } = this.rounds;
    const source = this.sourceOf(node);
    if (first.has(source) || this.shape.isMerge[node] || (this.shape.isLoop[node] && !later.has(source))) this.forget();
    const pages = this.pagesOf(node, block);
    block.insns.forEach((insn, k) => {
      const at = offset;
      offset += insn.length;
      f.scope(() => {
        const lift = new RegionLift(f, insn, block.uses[k]!, at, region, needs[k] !== Need.none, pages[k]);
        const semantics = SEMANTICS[insn.mnemonic]!;
        if (insn.lock || insn.mnemonic === 'xchg') {
          f.loop((label) => {
            lift.start = label;
            semantics(lift);
          });
        } else semantics(lift);
        if (k === block.insns.length - 1) this.emitEnd(node, block, lift);
      });
    });
  }

  /**
   * For `groups`. In a brief region what only one block leads to goes on with the groups of that; in loops, where others are, V8 has to keep too much
   * in registers then.
   */
  private groupsOf(isBrief: boolean): ReadonlyMap<number, readonly (Group | undefined)[]> {
    const { graph, sequence, isMerge, isLoop } = this.shape;
    const groups = new Map<number, readonly (Group | undefined)[]>();
    const before = new Map<number, Neighbourhood>();
    for (const node of sequence) {
      const block = this.blocks[node];
      if (block === undefined) continue;
      const known = new Neighbourhood(before.get(node));
      groups.set(node, known.add(block));
      if (!isBrief) continue;
      for (const { via } of graph.edges[node]!) if (!isMerge[via] && !isLoop[via]) before.set(via, known);
    }
    return groups;
  }

  /** For each instruction the page that its memory operand has in common with others, or with itself a round before. */
  private pagesOf(node: number, block: ProbedBlock): (SharedPage | undefined)[] {
    const { f, pages } = this;
    const loaded = this.loaded[this.rounds.first.get(this.sourceOf(node)) ?? node]!;
    const pageOf = ({ members, registers, writes, together }: Group, at: number): SharedPage | undefined => {
      if (!this.region.isBrief && loaded >= 0 && (registers & loaded) === 0) {
        const key = `${block.start} ${at}`;
        const place = this.keptPages.get(key) ?? this.kept;
        if (place < KEPT_PAGES_MAX) {
          if (place === this.kept) this.keptPages.set(key, this.kept++);
          return { kind: 'kept', offset: KEPT_PAGES + 16 * place, writes };
        }
      }
      if (members < 2 || together.locals === GROUPS) return undefined;
      const locals = (this.localPages[together.locals++] ??= { page: f.lasting(I64), addend: f.lasting(I32) });
      return { kind: 'local', ...locals };
    };
    return this.groups.get(node)!.map((group, at) => {
      if (group === undefined) return undefined;
      if (!pages.has(group)) pages.set(group, pageOf(group, at));
      return pages.get(group);
    });
  }

  /** Behind the last instruction: where control goes. */
  private emitEnd(node: number, block: Block, lift: RegionLift): void {
    const { f, region } = this;
    const edges = this.shape.graph.edges[node]!;
    const last = block.insns.at(-1)!;
    const { branch } = lift;
    const next = (): void => {
      if (block.next !== NOWHERE) this.emitEdge(node, edges[edges.length - 1]!, lift);
      else leaveTo(f, region, lift, region.page.add(i64(block.end)));
    };
    if (branch.kind === 'none') {
      // CALL, RET and the like have left already.
      if (!endsBlock(last)) next();
      return;
    }
    const taken = (): void => {
      if (block.taken !== NOWHERE) this.emitEdge(node, edges[0]!, lift);
      else leaveTo(f, region, lift, region.page.add(i64(block.end + last.operands[0]!.immLo)));
    };
    if (branch.kind === 'jump') {
      taken();
      return;
    }
    if (branch.kind === 'computed') {
      f.set(region.target, branch.address);
      if (block.taken !== NOWHERE) {
        const isKnown = region.target.eq(region.page.add(i64(block.taken)));
        this.emitAside(isKnown, () => this.emitEdge(node, edges[0]!, lift));
      }
      f.set(this.dispatching, i32(isDispatch(last) ? 1 : 0));
      this.emitEdge(node, edges.at(-1)!, lift);
      return;
    }
    this.emitAside(branch.condition, taken);
    next();
  }

  /** `way` on a condition: what is known in it is not known behind it. */
  private emitAside(condition: E, way: () => void): void {
    const { f, region } = this;
    const { flags, notSwitched, cached, looked } = region;
    const normal = region.normal.slice();
    f.if(condition, way);
    Object.assign(region, { flags, notSwitched, cached, looked });
    region.normal.set(normal);
  }

  /** The flags as everybody who comes to `node`, where paths meet, provides them. */
  private stateAt(node: number): FlagState {
    return (this.liveness.at[node]! & Need.read) !== 0 ? PAIR : DYNAMIC;
  }

  private emitEdge(from: number, edge: Edge, lift?: RegionLift): void {
    const { f, region, shape } = this;
    const { via: to, target } = edge;
    const back = shape.isBack(from, to);
    // Where the region is entered nothing has been done: a slice that ends there would never get on. Rounds that come there again were
    // counted on their way from the computed node.
    if (back && from !== shape.graph.edges[0]![0]!.target) {
      // A kick waits for the end of the slice, which is well within a millisecond: looking here costs loops up to a fifth.
      countDown(f, region.cpu, region.isBrief, this.budget);
      f.if(this.budget.leS(0), () => {
        f.cold();
        this.noteFlags(lift);
        // Where computed targets meet is no block: the address is in `target` already.
        const block = this.blocks[target];
        if (block !== undefined) f.set(region.target, region.page.add(i64(block.start)));
        f.set(region.status, i32(Status.Jump));
        f.br(region.leave);
      });
    }
    const choice = this.choice.get(to);
    if (choice !== undefined && to !== target) {
      f.set(choice, i32(shape.graph.dispatch.get(to)!.indexOf(target)));
    }
    // The later rounds of a loop begin with the flags of a round, as it left them.
    const isAlike = this.rounds.later.has(this.sourceOf(to));
    if (!isAlike && (shape.isMerge[to] || shape.isLoop[to] || this.blocks[to] === undefined)) {
      const need = this.liveness.at[to]!;
      if ((need & Need.read) !== 0) {
        if (region.flags.kind === 'op' || region.flags.kind === 'order') f.scope(() => lift!.toPair());
      } else if (need !== 0) this.noteFlags(lift);
      region.flags = this.stateAt(to);
    }
    if (back) f.br(this.loopLabels.get(to)!);
    else if (shape.isMerge[to]) f.br(this.mergeLabels.get(to)!);
    else {
      if (this.blocks[from] === undefined) this.forget();
      this.emitTree(to);
    }
  }

  /** Nothing is known of the registers any more. */
  private forget(): void {
    this.region.cached = 0;
    this.region.notSwitched = false;
    this.region.normal.fill(0);
  }

  private noteFlags(lift: RegionLift | undefined): void {
    if (lift !== undefined) lift.noteFlags();
    else noteFlags(this.f, this.region.flags, this.region.flagLocals);
  }
}
