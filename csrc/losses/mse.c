/* The squared error of an output and a number: negative (z - y)^2. */
#include "labelled.h"

static double value(double z, double y, double positive, double negative, const ecg_loss_settings *settings)
{
    (void)settings, (void)positive;
    return negative * (z - y) * (z - y);
}

static double slope(double z, double y, double positive, double negative, const ecg_loss_settings *settings)
{
    (void)settings, (void)positive;
    return 2 * negative * (z - y);
}

const ecg_label_loss ecg_mse = {"mse", false, value, slope};
