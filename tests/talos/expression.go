package main

import (
	"fmt"

	gocel "github.com/google/cel-go/cel"
	"github.com/siderolabs/talos/pkg/machinery/cel"
	"github.com/siderolabs/talos/pkg/machinery/cel/celenv"
)

// checkExpression says whether an expression compiles where it stands.
func checkExpression(r request, _ *answer) error {
	var err error

	switch r.Scope {
	case "disk":
		err = isBool(r.Expression, celenv.DiskLocator())
	case "volume":
		err = isBool(r.Expression, celenv.VolumeLocator())
	case "link":
		err = isBool(r.Expression, celenv.LinkLocator())
	case "trigger":
		err = isBool(r.Expression, celenv.OOMTrigger())
	case "ranking":
		_, err = cel.ParseDoubleExpression(r.Expression, celenv.OOMCgroupScoring())
	default:
		err = fmt.Errorf("no such scope: %s", r.Scope)
	}

	return err
}

func isBool(expression string, env *gocel.Env) error {
	_, err := cel.ParseBooleanExpression(expression, env)

	return err
}
