/* Binary cross entropy with logits, p the logistic function of z:
 * -(positive y log(p) + negative (1 - y) log(1 - p)). */
#include "labelled.h"

#include <math.h>

static double value(double z, double y, double positive, double negative, const ecg_loss_settings *settings)
{
    (void)settings;
    double tail = log1p(exp(-fabs(z))); /* of -log p and -log(1 - p) */
    return positive * y * (tail + fmax(-z, 0)) + negative * (1 - y) * (tail + fmax(z, 0));
}

static double slope(double z, double y, double positive, double negative, const ecg_loss_settings *settings)
{
    (void)settings;
    double p = 1 / (1 + exp(-z));
    return negative * (1 - y) * p - positive * y * (1 - p);
}

const ecg_label_loss ecg_bce = {"bce", true, value, slope};
