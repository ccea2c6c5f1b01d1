/** The OpenAPI document as one page for people: no scripts, nothing from elsewhere. */
import { openApi } from './openapi.ts';

interface Operation {
  readonly summary: string;
  readonly description?: string;
  readonly parameters?: readonly { name: string; in: string; required?: boolean; schema: Schema }[];
  readonly requestBody?: { content: Record<string, { schema: Schema }> };
  readonly responses: Record<string, { description?: string; content?: Record<string, { schema: Schema }> }>;
}
interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly const?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Record<string, Schema>;
  readonly required?: readonly string[];
  readonly description?: string;
}

const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (char) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[char]!);

const STYLE = `body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h2{margin-top:2.5rem}h3{font-size:1rem;margin:1.5rem 0 .25rem}code{font:.9em ui-monospace,monospace}h3 code{background:#eef;padding:.15rem .4rem}
table{border-collapse:collapse}td{padding:.1rem 1rem .1rem 0;vertical-align:top}.note{color:#666}pre{white-space:pre-wrap}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}h3 code{background:#2a2a44}a{color:#9bf}.note{color:#999}}`;

export function docsPage(): string {
  const document = openApi() as {
    info: { title: string; version: string; description: string };
    paths: Record<string, Record<string, Operation>>;
    components: { schemas: Record<string, Schema> };
  };
  const { title, version, description } = document.info;
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => section(method, path, operation)),
  );
  const schemas = Object.entries(document.components.schemas).map(
    ([name, schema]) =>
      `<h3 id="${escaped(name)}"><code>${escaped(name)}</code></h3>${note(schema.description)}${fields(schema)}`,
  );
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escaped(title)} ${escaped(version)}</title><style>${STYLE}</style>
<h1>${escaped(title)} ${escaped(version)}</h1><p>${escaped(description)}</p>
<p>The same for programs: <a href="/openapi.json">openapi.json</a>.</p>
<h2>Requests</h2>${operations.join('\n')}
<h2>Values</h2>${schemas.join('\n')}
</html>
`;
}

function section(method: string, path: string, operation: Operation): string {
  const parameters = operation.parameters ?? [];
  const body = operation.requestBody && Object.values(operation.requestBody.content)[0]!.schema;
  const reply = Object.values(operation.responses[200]?.content ?? {})[0]?.schema;
  return [
    `<h3><code>${method.toUpperCase()} ${escaped(path)}</code></h3><p>${escaped(operation.summary)}</p>`,
    note(operation.description),
    parameters.length > 0 ? table(parameters.map((one) => [one.name, one.schema, one.required ?? false, one.in])) : '',
    body ? `<p class="note">Body:</p>${fields(body)}` : '',
    reply ? `<p class="note">Answer: ${typeOf(reply)}</p>${reply.$ref ? '' : fields(reply)}` : '',
  ].join('');
}

const note = (text: string | undefined): string => (text ? `<pre class="note">${escaped(text)}</pre>` : '');

function fields({ properties, required = [] }: Schema): string {
  if (!properties) return '';
  return table(Object.entries(properties).map(([name, schema]) => [name, schema, required.includes(name), '']));
}

function table(rows: readonly (readonly [name: string, schema: Schema, required: boolean, where: string])[]): string {
  const cells = rows.map(([name, schema, required, where]) => {
    const about = [where && `in ${where}`, required ? '' : 'optional', schema.description].filter(Boolean).join(', ');
    return `<tr><td><code>${escaped(name)}</code><td>${typeOf(schema)}<td class="note">${escaped(about)}`;
  });
  return `<table>${cells.join('')}</table>`;
}

function typeOf(schema: Schema): string {
  if (schema.$ref) {
    const name = schema.$ref.slice(schema.$ref.lastIndexOf('/') + 1);
    return `<a href="#${escaped(name)}">${escaped(name)}</a>`;
  }
  if (schema.const !== undefined) return `<code>${escaped(JSON.stringify(schema.const))}</code>`;
  if (schema.enum) return schema.enum.map((word) => `<code>${escaped(word)}</code>`).join(' | ');
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(' | ');
  if (schema.items) return `list of ${typeOf(schema.items)}`;
  return escaped(schema.type ?? 'any');
}
