/** `xm_vars` of configuration files, xm-xend 2.4: a file declares its own variables, with help and a check each. */
import { type Keywords, PyError, PyFunction, PyObject, type PyValue, str } from './python/values.ts';

export interface DeclaredVariable {
  readonly name: string;
  readonly use: string;
  readonly check: PyValue;
}

export interface XmVars {
  readonly object: PyObject;
  readonly declared: DeclaredVariable[];
}

/**
 * `values` is the file's name space: what a check returns becomes the variable's value there. For `help` nothing is checked,
 * because nothing has been set.
 */
export function makeXmVars(values: Map<string, PyValue>, help = false): XmVars {
  const declared: DeclaredVariable[] = [];
  const declare = (args: readonly PyValue[], keywords: Keywords): PyValue => {
    const name = args[0] ?? keywords.get('name');
    if (typeof name !== 'string') throw new PyError('TypeError', 'xm_vars.var() needs a name');
    declared.push({
      name,
      use: str(args[1] ?? keywords.get('use') ?? ''),
      check: args[2] ?? keywords.get('check') ?? null,
    });
    return null;
  };
  const check = (): PyValue => {
    for (const { name, use, check } of declared) {
      if (help || !(check instanceof PyFunction)) continue;
      try {
        const result = check.call([name, values.get(name) ?? null], new Map());
        if (result !== null) values.set(name, result);
      } catch (error) {
        if (!(error instanceof PyError) || error.type === 'Limit') throw error;
        const given = values.has(name) ? `is ${JSON.stringify(str(values.get(name)!))}` : 'is not set';
        const line = use.split('\n')[0]!.trim();
        throw new PyError('Variable', `variable ${name} ${given}${line ? `: ${line}` : ''} (set it as ${name}=VALUE)`);
      }
    }
    return null;
  };
  const object = new PyObject('xm_vars', {
    var: new PyFunction('xm_vars.var', declare),
    check: new PyFunction('xm_vars.check', check),
  });
  return { object, declared };
}
