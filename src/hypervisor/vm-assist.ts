/**
 * vm_assist: the guest switches optional behaviour on and off. Follows pv-abi 2.5.
 */
import { Errno } from '../abi/errno.ts';
import { VMASST } from '../abi/numbers.ts';
import type { HypercallArgs } from './hypercall-args.ts';
import type { Vcpu } from './vcpu.ts';

const COMMAND = { enable: 0, disable: 1 } as const;
const TYPES: ReadonlySet<number> = new Set(Object.values(VMASST));

/** vm_assist(cmd, type). Types above 31 have no effect here and are not kept. */
export function vmAssist(vcpu: Vcpu, args: HypercallArgs): number {
  const command = args.lo(0);
  const type = args.lo(1);
  if (command > COMMAND.disable) return -Errno.ENOSYS;
  if (!TYPES.has(type)) return -Errno.EINVAL;
  if (type < 32) {
    const bit = 1 << type;
    if (command === COMMAND.enable) vcpu.domain.vmAssist |= bit;
    else vcpu.domain.vmAssist &= ~bit;
    for (const each of vcpu.domain.vcpus) each.updateSpecial();
  }
  return 0;
}
