/** The sixteen condition codes in encoding order (SDM volume 2, appendix B.1.4.7): jcc, setcc and cmovcc are made of them. */
import type { Row } from '../rows.ts';

const CONDITION_CODES = ['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g'];

/** One row for each condition; `n` is its hexadecimal digit. */
export function perCondition(make: (cc: string, n: string) => Row): Row[] {
  return CONDITION_CODES.map((cc, n) => make(cc, n.toString(16).toUpperCase()));
}
