/**
 * Differences that are known and not mended yet, each as narrow as it can be told. They are counted apart from mismatches and
 * listed in every report; the long run says when one no longer occurs, so that its row can go.
 */
import type { Insn } from '../../src/x86/decode.ts';
import { FX, OUTCOME } from './layout.ts';

export interface Known {
  readonly about: string;
  readonly mnemonics: readonly string[];
  readonly test: (host: DataView, ours: DataView, insn: Insn) => boolean;
}

const vector = (view: DataView): number => view.getUint32(OUTCOME.vector, true);
const SS = 12;
const GP = 13;
const PF = 14;
const canonical = (rip: bigint): boolean => rip >> 47n === 0n || rip >> 47n === 0x1ffffn;

export const KNOWN: readonly Known[] = [
  {
    about: 'a near branch to a non-canonical address faults at its target, not at the branch',
    mnemonics: ['jmp', 'call', 'ret'],
    test: (host, ours) => vector(host) === GP && !canonical(ours.getBigUint64(OUTCOME.rip, true)),
  },
  {
    about: 'a non-canonical address relative to rsp or rbp raises #GP, not #SS',
    mnemonics: ['cmpxchg8b', 'cmpxchg16b'],
    test: (host, ours) => vector(host) === SS && vector(ours) === GP,
  },
  {
    about: 'with 32-bit addresses, the address of a bit in memory does not wrap at 4 GiB',
    mnemonics: ['bt', 'bts', 'btr', 'btc'],
    test: (_, ours, insn) => insn.addrSize === 4 && [SS, GP, PF].includes(vector(ours)),
  },
  {
    about: 'an address that is not mapped raises nothing',
    mnemonics: ['clflush'],
    test: (host, ours) => [SS, GP, PF].includes(vector(host)) && vector(ours) > 31,
  },
  {
    about: 'bit 17 of MXCSR, which lifts alignment on AMD, is reserved and raises #GP',
    mnemonics: ['ldmxcsr', 'fxrstor'],
    test: (host, ours) => (host.getUint32(OUTCOME.fx + FX.mxcsr, true) & 0x2_0000) !== 0 && vector(ours) === GP,
  },
];
