/**
 * What a developer wants to see of regions: which code of the guest they are, what it became, and how often each was entered.
 * Only of regions that are put into the table while somebody watches: nothing is kept, and nothing is counted, at other times.
 */
import { originId, REGION_PARAMETERS, type RegionOrigin } from '../../translate/region/index.ts';
import { I32, i32, i64 } from '../../wasm/expr.ts';
import { ModuleBuilder } from '../../wasm/module.ts';
import { printFunction } from '../../wasm/print.ts';
import { type GuestListing, guestListing, hexAddress } from './listing.ts';

/** A region as it is told: plain data. */
export interface RegionView extends GuestListing {
  /** Of its first entry, where it was entered last: sixteen hexadecimal digits. */
  readonly address: string;
  /** Of the process's page tables when it was first entered: their frame, or 0 in the guest's kernel. */
  readonly root: number;
  /** In this domain, of one piece of hot code or of several regions; or kept from another. */
  readonly how: 'made' | 'joined' | 'kept';
  readonly instructions: number;
  readonly entries: number;
  /** How often control came to it from outside. */
  readonly executions: number;
  /** Bytes of WebAssembly of its module, which it may share with others. */
  readonly moduleBytes: number;
  /** Its function, an instruction a line; none when it cannot be had any more. */
  readonly wasm: readonly string[];
}

/** What is to be told of a region, as it is put into the table. */
export interface WatchedRegion {
  readonly origin: RegionOrigin;
  readonly how: RegionView['how'];
  /** Its module, and its function's name in that. */
  module(): { readonly bytes: Uint8Array; readonly exported: string } | undefined;
}

interface Watched extends WatchedRegion {
  executions: number;
  root: number;
  /** Address of its first page, where it was entered last: its low and its high half. */
  lo: number;
  hi: number;
}

/** A module whose function "0" tells `entered` the region's first page, and then goes on in `region` as if it were that. */
function counter(): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder();
  const entered = m.importFunction('entered', [I32, I32], []);
  const region = m.importFunction('region', [...REGION_PARAMETERS], [I32]);
  m.function(
    [...REGION_PARAMETERS],
    [I32],
    (f) => {
      const page = f.param(0);
      f.callVoid(entered, page.wrap(), page.shrU(i64(32)).wrap());
      f.returnCall(region, page, f.param(1));
      f.ret(i32(0));
    },
    '0',
  );
  return m.finish();
}

export class WatchedRegions {
  readonly #counter = new WebAssembly.Module(counter());
  /** By originId: the same code in two places is told of as one. */
  readonly #regions = new Map<number, Watched>();
  readonly #root: () => number;

  /** `root`: RegionView.root of what runs now. */
  constructor(root: () => number = () => 0) {
    this.#root = root;
  }

  /** The function that is to be called instead of `code`, which is `region`'s. */
  add(region: WatchedRegion, code: unknown): unknown {
    const id = originId(region.origin);
    const known = this.#regions.get(id);
    const watched = known ?? { ...region, executions: 0, root: 0, lo: 0, hi: 0 };
    this.#regions.set(id, watched);
    const entered = (lo: number, hi: number): void => {
      if (watched.executions++ === 0) watched.root = this.#root();
      watched.lo = lo;
      watched.hi = hi;
    };
    return new WebAssembly.Instance(this.#counter, { e: { entered, region: code } }).exports['0'];
  }

  /** The `most` of those that were entered which `weight` finds heaviest, by their originId; then those that were entered most often. */
  views(most: number, weight: (id: number) => number): (RegionView & { readonly id: number })[] {
    return [...this.#regions]
      .filter(([, { executions }]) => executions > 0)
      .sort(([a, x], [b, y]) => weight(b) - weight(a) || y.executions - x.executions)
      .slice(0, most)
      .map(([id, watched]) => ({ id, ...viewOf(watched) }));
  }
}

function viewOf({ origin, how, module, executions, root, lo, hi }: Watched): RegionView {
  const page = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
  const { bytes, exported } = module() ?? { bytes: undefined, exported: '' };
  return {
    address: hexAddress(page + BigInt(origin.entries[0]!)),
    root,
    how,
    instructions: origin.instructions,
    entries: origin.entries.length,
    executions,
    moduleBytes: bytes?.length ?? 0,
    ...guestListing(origin, page),
    wasm: bytes === undefined ? [] : printFunction(bytes, exported),
  };
}
