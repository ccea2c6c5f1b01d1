/**
 * From opcode to form: the rows spread over tables that the decoder indexes with opcode map, opcode, mandatory prefix,
 * ModRM and REX bits. What no row claims is null and means #UD.
 */
import { Kind } from '../operand.ts';
import { Form, Source } from './form.ts';
import { ROWS } from './index.ts';

/** The forms of one opcode with one mandatory prefix. */
export class Slot {
  readonly hasModrm: boolean;
  /** With ModRM: [2 * (mod == 3 ? 8 + (modrm & 63) : reg) + REX.W]; without: [2 * REX.B + REX.W]. */
  readonly forms: (Form | null)[];

  constructor(hasModrm: boolean) {
    this.hasModrm = hasModrm;
    this.forms = new Array<Form | null>(hasModrm ? 144 : 4).fill(null);
  }
}

export const FORMS: readonly Form[] = ROWS.map((row) => new Form(row));

/** Rows may overlap; the one that says more wins. */
function specificity(form: Form): number {
  const modrm = form.modrm >= 0 ? (form.anyRm ? 2 : 3) : form.digit >= 0 ? 1 : 0;
  const kinds = form.register && form.memory ? 0 : 1;
  return 64 * (form.plusR ? 0 : 1) + 16 * (form.prefix >= 0 ? 1 : 0) + 4 * modrm + 2 * kinds + (form.rexW ? 1 : 0);
}

function spread(forms: readonly Form[]): (Slot | null)[] {
  const table = new Array<Slot | null>(4 * 256 * 4).fill(null);
  for (const form of forms.toSorted((a, b) => specificity(a) - specificity(b))) {
    for (let low = 0; low < (form.plusR ? 8 : 1); low++) {
      for (let prefix = 0; prefix < 4; prefix++) {
        if (form.prefix >= 0 && form.prefix !== prefix) continue;
        const at = (((form.map << 8) | (form.opcode + low)) << 2) | prefix;
        fill((table[at] ??= new Slot(form.hasModrm)), form);
      }
    }
  }
  return share(table);
}

function fill(slot: Slot, form: Form): void {
  if (slot.hasModrm !== form.hasModrm) throw new Error(`${form.row.encoding}: with and without ModRM`);
  for (let w = form.rexW ? 1 : 0; w < 2; w++) {
    if (!form.hasModrm) {
      slot.forms[w] = form;
      if (!form.row.flags.includes('norexb')) slot.forms[2 + w] = form;
      continue;
    }
    for (let reg = 0; reg < 8; reg++) {
      if (!acceptsReg(form, reg)) continue;
      if (form.memory) slot.forms[2 * reg + w] = form;
      if (!form.register) continue;
      for (let rm = 0; rm < 8; rm++) {
        if (form.modrm < 0 || form.anyRm || (form.modrm & 7) === rm) slot.forms[2 * (8 + 8 * reg + rm) + w] = form;
      }
    }
  }
}

function acceptsReg(form: Form, reg: number): boolean {
  if (form.modrm >= 0) return ((form.modrm >> 3) & 7) === reg;
  if (form.digit >= 0) return form.digit === reg;
  // There are six segment registers.
  return reg < 6 || !form.specs.some((spec) => spec.source === Source.Reg && spec.kind === Kind.Seg);
}

/** Most opcodes have the same forms with every prefix: one slot then serves them all. */
function share(table: (Slot | null)[]): (Slot | null)[] {
  for (let at = 0; at < table.length; at++) {
    const first = table[at & ~3];
    const slot = table[at];
    if (first && slot?.forms.every((form, k) => form === first.forms[k])) table[at] = first;
  }
  return table;
}

/** [4 * (256 * map + opcode) + prefix]. */
export const OPCODES: readonly (Slot | null)[] = spread(FORMS);
