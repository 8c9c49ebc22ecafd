package sandbox

import (
	"strings"
	"sync"
)

// elements is FHIR R4 as far as results need it, one type a line: name:type, a * behind for repeating, a ! for required;
// value[x] takes the types parted by |. Types that begin in lower case are primitives.
const elements = `
Observation: @Domain identifier:Identifier* basedOn:Reference* partOf:Reference* status:code! category:CodeableConcept* code:CodeableConcept! subject:Reference focus:Reference* encounter:Reference effective[x]:dateTime|Period|Timing|instant issued:instant performer:Reference* value[x]:Quantity|CodeableConcept|string|boolean|integer|Range|Ratio|SampledData|time|dateTime|Period dataAbsentReason:CodeableConcept interpretation:CodeableConcept* note:Annotation* bodySite:CodeableConcept method:CodeableConcept specimen:Reference device:Reference referenceRange:ObservationReferenceRange* hasMember:Reference* derivedFrom:Reference* component:ObservationComponent*
ObservationReferenceRange: @Backbone low:Quantity high:Quantity type:CodeableConcept appliesTo:CodeableConcept* age:Range text:string
ObservationComponent: @Backbone code:CodeableConcept! value[x]:Quantity|CodeableConcept|string|boolean|integer|Range|Ratio|SampledData|time|dateTime|Period dataAbsentReason:CodeableConcept interpretation:CodeableConcept* referenceRange:ObservationReferenceRange*
DiagnosticReport: @Domain identifier:Identifier* basedOn:Reference* status:code! category:CodeableConcept* code:CodeableConcept! subject:Reference encounter:Reference effective[x]:dateTime|Period issued:instant performer:Reference* resultsInterpreter:Reference* specimen:Reference* result:Reference* imagingStudy:Reference* media:DiagnosticReportMedia* conclusion:string conclusionCode:CodeableConcept* presentedForm:Attachment*
DiagnosticReportMedia: @Backbone comment:string link:Reference!
Specimen: @Domain identifier:Identifier* accessionIdentifier:Identifier status:code type:CodeableConcept subject:Reference receivedTime:dateTime parent:Reference* request:Reference* collection:any processing:any* container:any* condition:CodeableConcept* note:Annotation*
Domain: @Resource text:any contained:any* extension:Extension* modifierExtension:Extension*
Resource: resourceType:string! id:id meta:Meta implicitRules:uri language:code
Backbone: @Element modifierExtension:Extension*
Element: id:string extension:Extension*
Meta: @Element versionId:id lastUpdated:instant source:uri profile:uri* security:Coding* tag:Coding* project:string author:Reference compartment:Reference* account:Reference accounts:Reference* onBehalfOf:Reference
Extension: @Element url:uri! value[x]:base64Binary|boolean|canonical|code|date|dateTime|decimal|id|instant|integer|markdown|oid|positiveInt|string|time|unsignedInt|uri|url|uuid|Address|Age|Annotation|Attachment|CodeableConcept|Coding|ContactPoint|Count|Distance|Duration|HumanName|Identifier|Money|Period|Quantity|Range|Ratio|Reference|SampledData|Signature|Timing
Identifier: @Element use:code type:CodeableConcept system:uri value:string period:Period assigner:Reference
CodeableConcept: @Element coding:Coding* text:string
Coding: @Element system:uri version:string code:code display:string userSelected:boolean
Quantity: @Element value:decimal comparator:code unit:string system:uri code:code
Range: @Element low:Quantity high:Quantity
Ratio: @Element numerator:Quantity denominator:Quantity
Period: @Element start:dateTime end:dateTime
Reference: @Element reference:string type:uri identifier:Identifier display:string
Annotation: @Element author[x]:Reference|string time:dateTime text:markdown!
Attachment: @Element contentType:code language:code data:base64Binary url:url size:unsignedInt hash:base64Binary title:string creation:dateTime
SampledData: @Element origin:Quantity! period:decimal! factor:decimal lowerLimit:decimal upperLimit:decimal dimensions:positiveInt! data:string
`

// unchecked are types kept without a look inside.
const unchecked = " Patient Practitioner Organization Location Device DeviceMetric ServiceRequest Task Encounter Communication Provenance AuditEvent " +
	"DocumentReference Media Group Basic Bot Agent Subscription Questionnaire QuestionnaireResponse Schedule Slot Appointment "

func knownType(typ string) bool {
	return strings.Contains(" Observation DiagnosticReport Specimen"+unchecked, " "+typ+" ")
}

// element is one row of a type.
type element struct {
	name     string   // value, for value[x] too
	types    []string // more than one only for a choice
	choice   bool
	many     bool
	required bool
}

// schema reads the table once.
var schema = sync.OnceValue(func() map[string][]element {
	rows := map[string][]string{}
	for line := range strings.Lines(elements) {
		if name, fields, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			rows[name] = strings.Fields(fields)
		}
	}
	types := map[string][]element{}
	var read func(name string) []element
	read = func(name string) []element {
		var list []element
		for _, field := range rows[name] {
			if base, ok := strings.CutPrefix(field, "@"); ok {
				list = append(list, read(base)...)
				continue
			}
			list = append(list, readElement(field))
		}
		return list
	}
	for name := range rows {
		types[name] = read(name)
	}
	return types
})

func readElement(field string) element {
	name, kind, _ := strings.Cut(field, ":")
	var e element
	e.name, e.choice = strings.CutSuffix(name, "[x]")
	kind, e.required = strings.CutSuffix(kind, "!")
	kind, e.many = strings.CutSuffix(kind, "*")
	e.types = strings.Split(kind, "|")
	return e
}
