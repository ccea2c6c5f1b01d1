/**
 * Translates a region to a WebAssembly function (cpu, record) → Status, called through the table like the handler of a single
 * instruction. `record` is the interpreter's for the entry at hand; its field `entry` says which of the region's it is.
 *
 * Ways out, all with the changed registers and the flags in the state block:
 *   stop    at an instruction that faulted, or that the interpreter is to run because its store drops code
 *   leave   with an exit for the hypervisor, or for the interpreter at `target`
 *   help    at an instruction that is to be performed in TypeScript, and then for the interpreter
 *   jump    to `target`: straight into another region when there is one, else like leave
 */
import type { MemoryLayout } from '../../hypervisor/memory.ts';
import { type E, I32, I64, i32, i64, load8u, load16u, load32, load64 } from '../../wasm/expr.ts';
import { call, type Fn, type FnRef, type Label, ModuleBuilder } from '../../wasm/module.ts';
import { Kind } from '../../x86/decode.ts';
import { Exit } from '../../x86/exits.ts';
import { STATE } from '../../x86/state.ts';
import { CODE_HASH, CODE_HASH_ENTRIES, RECORD, REGION_SLOTS, REGION_STOPPED, Status, TLB_ENTRIES } from '../layout.ts';
import { SEMANTICS } from '../semantics/index.ts';
import { type Block, endsBlock, type RegionPlan } from './discover.ts';
import { DYNAMIC, type FlagState, PAIR } from './flag-lift.ts';
import { leaveTo, type RegionContext, RegionLift, storeDynamic } from './lift.ts';
import { type FlagLiveness, flagLiveness, Need } from './liveness.ts';
import { type Edge, type Graph, type Structure, structure } from './structure.ts';

/** What a region module imports from "e", beside memory "m" and table "t". */
export interface RegionImports {
  /** runtime/mmu.ts, with 1 for "the interpreter shall run this instruction". */
  regionMiss(cpu: number, va: bigint, access: number): number;
  scatter(cpu: number, va: bigint, size: number): void;
  flags(cpu: number, code: number, a: bigint, b: bigint, r: bigint): void;
  /** Perform the instruction at this offset of the code page; a Status other than Next. */
  regionHelper(cpu: number, position: number): number;
}

/** A module with one function for each of `plans`, exported as "0", "1", … */
export function generateRegions(layout: MemoryLayout, plans: readonly RegionPlan[]): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder();
  const pages = layout.bytes / 0x10000;
  m.importMemory(pages, pages);
  m.importTable();
  const imports = {
    miss: m.importFunction('regionMiss', [I32, I64, I32], [I32]),
    scatter: m.importFunction('scatter', [I32, I64, I32], []),
    flags: m.importFunction('flags', [I32, I32, I64, I64, I64], []),
    helper: m.importFunction('regionHelper', [I32, I32], [I32]),
  };
  const type = m.typeIndex([I32, I32], [I32]);
  plans.forEach((plan, index) => {
    m.function([I32, I32], [I32], (f) => new RegionEmitter(f, plan, imports, type).emit(), String(index));
  });
  return m.finish();
}

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
  readonly scatter: FnRef;
  readonly flags: FnRef;
  readonly helper: FnRef;
}

class RegionEmitter {
  private readonly f: Fn;
  private readonly shape: Structure;
  /** Node → its block; undefined for the entry and dispatch nodes. */
  private readonly blocks: (Block | undefined)[] = [undefined];
  private readonly liveness: FlagLiveness;
  private readonly region: RegionContext;
  private readonly budget: E;
  /** The node where RETs meet, -1 if there is none: it goes on behind a call of the region, or leaves. */
  private readonly returnNode: number;
  /** Dispatch node → the local with the number of its target. */
  private readonly choice = new Map<number, E>();
  private readonly loopLabels = new Map<number, Label>();
  private readonly mergeLabels = new Map<number, Label>();
  private readonly type: number;
  private readonly labels: { stop?: Label; leave?: Label; jump?: Label; help?: Label } = {};
  private readonly helperFunction: FnRef;

  constructor(f: Fn, plan: RegionPlan, imports: ImportRefs, type: number) {
    this.f = f;
    this.type = type;
    this.helperFunction = imports.helper;
    const nodes = new Map<number, number>();
    for (const block of plan.blocks.values()) nodes.set(block.start, this.blocks.push(block) - 1);
    const edge = (offset: number): Edge => ({ target: nodes.get(offset)!, via: nodes.get(offset)! });
    const edges: Edge[][] = [plan.entries.map(edge)];
    const returnNode = plan.returns.length > 0 ? this.blocks.length : -1;
    for (const { taken, next, insns } of plan.blocks.values()) {
      const list = [taken, next].filter((offset) => offset >= 0).map(edge);
      if (returnNode >= 0 && insns.at(-1)!.mnemonic === 'ret') list.push({ target: returnNode, via: returnNode });
      edges.push(list);
    }
    if (returnNode >= 0) {
      edges.push(plan.returns.map(edge));
      this.blocks.push(undefined);
    }
    this.returnNode = returnNode;
    const graph: Graph = { edges, dispatch: new Map() };
    this.shape = structure(graph);
    while (this.blocks.length < graph.edges.length) this.blocks.push(undefined);
    for (const node of graph.dispatch.keys()) this.choice.set(node, f.local(I32));
    const leaves = graph.edges.map(
      (list, node) => list.length < waysOn(this.blocks[node]) || list.some(({ via }) => this.shape.isBack(node, via)),
    );
    this.liveness = flagLiveness(
      this.blocks,
      graph.edges.map((list) => list.map(({ via }) => via)),
      leaves,
      this.shape.sequence,
    );
    this.budget = f.local(I32);
    const labels = this.labels;
    this.region = {
      cpu: f.param(0),
      page: f.local(I64),
      tlb: f.local(I32),
      fsBase: f.local(I64),
      gsBase: f.local(I64),
      gpr: Array.from({ length: 16 }, () => f.local(I64)),
      used: 0,
      written: 0,
      usesFs: false,
      usesGs: false,
      flags: PAIR,
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
      usesHelper: false,
      miss: imports.miss,
      scatter: imports.scatter,
      flagsFunction: imports.flags,
    };
  }

  emit(): void {
    const { f, region, labels } = this;
    f.block((jump) => {
      labels.jump = jump;
      f.block((leave) => {
        labels.leave = leave;
        f.block((stop) => {
          labels.stop = stop;
          f.block((help) => {
            labels.help = help;
            this.emitTree(0);
          });
          if (region.usesHelper) {
            storeDynamic(f, region);
            this.spill();
            f.store32(region.cpu, this.budget, STATE.budget);
            f.ret(call(this.helperFunction, region.cpu, region.position));
          }
        });
        f.set(region.target, region.page.add(region.position.extendU()));
        f.set(region.status, i32(Status.Exit + Exit.Exception));
        f.if(region.again, () => {
          f.set(region.status, i32(Status.Jump));
          f.store64(region.cpu, region.target, REGION_STOPPED);
        });
      });
      storeDynamic(f, region);
      this.spill();
      f.store64(region.cpu, region.target, STATE.rip);
      f.store32(region.cpu, this.budget, STATE.budget);
      f.ret(region.status);
    });
    this.spill();
    this.emitJump();
    f.ret(i32(Status.Jump));
    f.unreachable();
    f.prepend(() => this.emitPrologue());
  }

  private emitPrologue(): void {
    const { f, region } = this;
    const { cpu } = region;
    f.set(region.page, load64(cpu, STATE.codePage));
    f.set(region.tlb, load32(cpu, STATE.tlb));
    f.set(this.budget, load32(cpu, STATE.budget));
    if (region.usesFs) f.set(region.fsBase, load64(cpu, STATE.fsBase));
    if (region.usesGs) f.set(region.gsBase, load64(cpu, STATE.gsBase));
    f.set(region.flagLocals.result, load64(cpu, STATE.flagResult));
    f.set(region.flagLocals.aux, load32(cpu, STATE.flagAux));
    region.gpr.forEach((local, k) => {
      if ((region.used >> k) & 1) f.set(local, load64(cpu, STATE.gpr + 8 * k));
    });
  }

  private spill(): void {
    const { f, region } = this;
    region.gpr.forEach((local, k) => {
      if ((region.written >> k) & 1) f.store64(region.cpu, local, STATE.gpr + 8 * k);
    });
  }

  /** To the region at `target`, if there is one: what the interpreter's resolve does, short. */
  private emitJump(): void {
    const { f, region, budget } = this;
    const { cpu, target } = region;
    f.store64(cpu, target, STATE.rip);
    f.set(budget, budget.sub(1));
    f.store32(cpu, budget, STATE.budget);
    f.scope(() => {
      f.if(budget.gtS(0).and(load32(cpu, STATE.kick).eqz()), () => {
        const number = f.let(target.shrU(12).wrap());
        const entry = f.let(
          region.tlb.add(
            number
              .add(number.shrU(10))
              .and(TLB_ENTRIES - 1)
              .shl(5),
          ),
        );
        f.if(load64(entry, 16).eq(target.and(-4096)), () => {
          const at = f.let(target.wrap().add(load32(entry, 24)));
          const slot = f.let(
            cpu.add(
              at
                .xor(at.shrU(14))
                .and(CODE_HASH_ENTRIES - 1)
                .shl(3),
            ),
          );
          f.if(load32(slot, CODE_HASH).eq(at), () => {
            const record = f.let(load32(slot, CODE_HASH + 4));
            const handler = f.let(load16u(record, RECORD.handler));
            f.if(handler.geU(REGION_SLOTS), () => {
              f.store64(cpu, target.and(-4096), STATE.codePage);
              f.returnCallIndirect(this.type, handler, cpu, record);
            });
          });
        });
      });
    });
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
    else if (node === this.returnNode) this.emitReturns(node);
    else {
      const number = node === 0 ? load8u(this.f.param(1), RECORD.entry) : this.choice.get(node)!;
      this.emitSwitch(node, number);
    }
  }

  /** `target` is in this page: behind which call is it? */
  private emitReturns(node: number): void {
    const { f, region } = this;
    const state = region.flags;
    const offset = f.let(region.target.wrap().and(4095));
    for (const edge of this.shape.graph.edges[node]!) {
      f.if(offset.eq(this.blocks[edge.target]!.start), () => this.emitEdge(node, edge));
      region.flags = state;
    }
    if (state.kind === 'dynamic') storeDynamic(f, region);
    else {
      f.store64(region.cpu, region.flagLocals.result, STATE.flagResult);
      f.store32(region.cpu, region.flagLocals.aux, STATE.flagAux);
    }
    f.br(region.jump);
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

  private emitBlock(node: number, block: Block): void {
    const { f, region } = this;
    const needs = this.liveness.behind.get(block)!;
    let offset = block.start;
    block.insns.forEach((insn, k) => {
      const at = offset;
      offset += insn.length;
      f.scope(() => {
        const lift = new RegionLift(f, insn, block.uses[k]!, at, region, needs[k] !== Need.none);
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

  /** Behind the last instruction: where control goes. */
  private emitEnd(node: number, block: Block, lift: RegionLift): void {
    const { f, region } = this;
    const edges = this.shape.graph.edges[node]!;
    const last = block.insns.at(-1)!;
    const { branch } = lift;
    const next = (): void => {
      if (block.next >= 0) this.emitEdge(node, edges[edges.length - 1]!, lift);
      else leaveTo(f, region, lift, region.page.add(i64(block.end)));
    };
    if (branch.kind === 'none') {
      // CALL, RET and the like have left already.
      if (!endsBlock(last)) next();
      return;
    }
    const taken = (): void => {
      if (block.taken >= 0) this.emitEdge(node, edges[0]!, lift);
      else leaveTo(f, region, lift, region.page.add(i64(block.end + last.operands[0]!.immLo)));
    };
    if (branch.kind === 'jump') {
      taken();
      return;
    }
    const state = region.flags;
    if (branch.kind === 'return') {
      if (this.returnNode >= 0) {
        f.set(region.target, branch.address);
        f.if(region.target.and(-4096).eq(region.page), () => this.emitEdge(node, edges[0]!, lift));
        region.flags = state;
      }
      leaveTo(f, region, lift, branch.address);
      return;
    }
    f.if(branch.condition, taken);
    region.flags = state;
    next();
  }

  /** The flags as everybody who comes to `node`, where paths meet, provides them. */
  private stateAt(node: number): FlagState {
    return (this.liveness.at[node]! & Need.read) !== 0 ? PAIR : DYNAMIC;
  }

  private emitEdge(from: number, edge: Edge, lift?: RegionLift): void {
    const { f, region, shape } = this;
    const { via: to, target } = edge;
    const back = shape.isBack(from, to);
    if (back) {
      f.set(this.budget, this.budget.sub(1));
      f.if(this.budget.leS(0).or(load32(region.cpu, STATE.kick)), () => {
        f.cold();
        this.noteFlags(lift);
        // The node behind returns is no block: its address is the popped one, which is in `target` already.
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
    if (shape.isMerge[to] || shape.isLoop[to] || this.blocks[to] === undefined) {
      const need = this.liveness.at[to]!;
      if ((need & Need.read) !== 0) {
        if (region.flags.kind === 'op') f.scope(() => lift!.toPair());
      } else if (need !== 0) this.noteFlags(lift);
      region.flags = this.stateAt(to);
    }
    if (back) f.br(this.loopLabels.get(to)!);
    else if (shape.isMerge[to]) f.br(this.mergeLabels.get(to)!);
    else this.emitTree(to);
  }

  private noteFlags(lift: RegionLift | undefined): void {
    if (lift !== undefined) lift.noteFlags();
    else if (this.region.flags.kind === 'pair') this.f.set(this.region.flagLocals.code, i32(0));
  }
}
