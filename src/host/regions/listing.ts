/** The guest code of a region for people, from the bytes that it was made from. */
import { endsBlock, type RegionOrigin } from '../../translate/region/index.ts';
import { decode, type Insn, Kind } from '../../x86/decode.ts';
import { disassemble } from '../../x86/disassemble.ts';

export interface GuestListing {
  readonly blocks: number;
  /** Its code as it lies in memory, in the order of addresses: what lies together is one part. */
  readonly parts: readonly { readonly address: string; readonly instructions: number }[];
  /** A line for each instruction, with `>` where the region can be entered and a blank line before each block. */
  readonly guest: readonly string[];
}

/** An instruction, and where it is: from the beginning of the first entry's page, as all offsets are. */
interface Placed {
  readonly offset: number;
  readonly insn: Insn;
}

/** Sixteen digits. */
export const hexAddress = (va: bigint): string => BigInt.asUintN(64, va).toString(16).padStart(16, '0');

/** `page`: the address of the first entry's page. */
export function guestListing(origin: RegionOrigin, page: bigint): GuestListing {
  const stretches = stretchesOf(origin);
  const insns = stretches.flat();
  const leaders = leadersOf(origin, insns);
  const lines = insns.flatMap(({ offset, insn }, k) => {
    const rip = BigInt.asUintN(64, page + BigInt(offset));
    const line = `${origin.entries.includes(offset) ? '>' : ' '}${hexAddress(rip)}  ${disassemble(insn, rip)}`;
    return k > 0 && leaders.has(offset) ? ['', line] : [line];
  });
  const parts = stretches.map((list) => ({
    address: hexAddress(page + BigInt(list[0]!.offset)),
    instructions: list.length,
  }));
  return { blocks: leaders.size, parts, guest: lines };
}

/** The instructions of `origin` in the order of addresses, those that lie together, across pages too, in one list. */
function stretchesOf({ pages, runs, bytes }: RegionOrigin): Placed[][] {
  const pieces: { readonly start: number; readonly bytes: Uint8Array }[] = [];
  let at = 0;
  runs.forEach((list, k) => {
    for (let run = 0; run < list.length; run += 2) {
      const length = list[run + 1]! - list[run]!;
      pieces.push({ start: pages[k]! * 4096 + list[run]!, bytes: bytes.subarray(at, at + length) });
      at += length;
    }
  });
  pieces.sort((a, b) => a.start - b.start);
  const stretches: { readonly start: number; readonly code: number[] }[] = [];
  for (const { start, bytes: code } of pieces) {
    const last = stretches.at(-1);
    if (last !== undefined && last.start + last.code.length === start) last.code.push(...code);
    else stretches.push({ start, code: [...code] });
  }
  return stretches.map(({ start, code }) => instructionsOf(start, Uint8Array.from(code)));
}

function instructionsOf(start: number, code: Uint8Array): Placed[] {
  const found: Placed[] = [];
  for (let at = 0; at < code.length; ) {
    const insn = decode(code, at, code.length);
    // Two of its blocks overlap here, and the other one of them is listed.
    if (typeof insn === 'string') break;
    found.push({ offset: start + at, insn });
    at += insn.length;
  }
  return found;
}

/** Where blocks begin: at entries, where the region's branches lead, behind branches, and where code lies apart. */
function leadersOf({ entries }: RegionOrigin, insns: readonly Placed[]): Set<number> {
  const offsets = new Set(insns.map(({ offset }) => offset));
  const leaders = new Set(entries);
  let behind: number | undefined;
  let begins = true;
  for (const { offset, insn } of insns) {
    if (begins || offset !== behind) leaders.add(offset);
    behind = offset + insn.length;
    const [to] = insn.operands;
    if (to?.kind === Kind.Rel && offsets.has(behind + to.immLo)) leaders.add(behind + to.immLo);
    begins = endsBlock(insn);
  }
  return leaders;
}
