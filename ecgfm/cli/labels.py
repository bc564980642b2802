"""The label files that finetuning takes, made from a data source.

    ecgfm labels mimic_iv_ecg --machine_measurements machine_measurements.csv --meta meta.csv \\
        --meta_splits meta_split.csv --output_dir labels

writes labels.csv, label_def.csv, y.npy, pos_weight.txt and labels_args.json. Records whose study has no report are
left out, which is reported; the exit status is then 1.
"""

import sys

__all__ = ["SOURCES", "add_arguments", "run"]


def add_arguments(parser):
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    for name, (text, arguments, make) in SOURCES.items():
        source = sources.add_parser(name, help=text, description=text)
        arguments(source)
        source.set_defaults(make=make)


def run(args):
    return args.make(args)


def mimic_arguments(parser):
    parser.add_argument("--machine_measurements", metavar="CSV", required=True,
                        help="the data set's machine_measurements.csv: study_id, report_0, report_1, ...")
    parser.add_argument("--meta", metavar="CSV", required=True,
                        help="table with idx and study_id of each record, such as the meta.csv of preprocessing")
    parser.add_argument("--output_dir", metavar="DIR", required=True)
    parser.add_argument("--meta_splits", metavar="CSV", help="table with idx and split, such as meta_split.csv")
    parser.add_argument("--labels", default="final", metavar="NAMES",
                        help="names separated by semicolons, or a label_def.csv, in the order of the outputs; default: "
                             "the 17 of ECG-FM's classifier")
    parser.add_argument("--definitions", metavar="DIR", help="directory of definitions (default: the package's own)")
    parser.add_argument("--mode", choices=("documented", "reference"), default="documented",
                        help="documented: what the rules say (default); reference: what ECG-FM's labeler yields")
    parser.add_argument("--threshold", type=float, default=0.0, metavar="P",
                        help="a label counts when its probability is above this (default 0)")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="0: one per core (default 1)")


def mimic(args):
    from ..labeler import load
    from ..labeler.mimic_iv_ecg import make_labels
    from .label import wanted_labels

    names = wanted_labels(args.labels, load(args.definitions), args.mode)
    done = make_labels(args.machine_measurements, args.meta, args.output_dir, names=names, splits=args.meta_splits,
                       definitions=args.definitions, mode=args.mode, threshold=args.threshold,
                       processes=args.processes)
    print(f"{done['labeled']} of {done['records']} records labeled, {len(names)} labels: {args.output_dir}")
    if done["never"]:
        print(f"ecgfm: no record has {'; '.join(done['never'])}: weight 1 in pos_weight.txt", file=sys.stderr)
    if done["without_report"]:
        print(f"ecgfm: skipped {done['without_report']} records without a report", file=sys.stderr)
    return 1 if done["without_report"] else 0


#: Source -> (help, what adds its arguments, what makes its labels and returns the exit status).
SOURCES = {"mimic_iv_ecg": ("MIMIC-IV-ECG, from the machine reports, joined by study", mimic_arguments, mimic)}
